//! `metrics.csv`: what `metrics.jsonl` says, for spreadsheets.

use std::path::Path;

use serde::Serialize;

use super::record::Record;
use crate::error::{Error, Result};
use crate::files;

/// A line of the table; what a kind of line does not have is empty.
#[derive(Default, Serialize)]
struct Row {
    /// `step`, `evaluation` or `epoch`.
    kind: &'static str,
    step: Option<u64>,
    epoch: f64,
    loss: Option<f64>,
    lr: Option<f64>,
    grad_norm: Option<f64>,
    loss_scale: Option<f64>,
    train_loss: Option<f64>,
    train_accuracy: Option<f64>,
    test_loss: Option<f64>,
    test_accuracy: Option<f64>,
    ema_test_loss: Option<f64>,
    ema_test_accuracy: Option<f64>,
    img_per_s: Option<f64>,
    device_bytes: Option<u64>,
}

/// Writes a run's metrics as a table: its logged steps, then its evaluations.
pub fn write_csv(record: &Record, path: &Path) -> Result<()> {
    let known = |value: f64| value.is_finite().then_some(value);
    let steps = record.steps.iter().map(|row| Row {
        kind: "step",
        step: Some(row.step),
        epoch: row.epoch as f64,
        loss: known(row.loss),
        lr: known(row.lr),
        grad_norm: known(row.grad_norm),
        loss_scale: known(row.loss_scale),
        img_per_s: known(row.img_per_s),
        ..Row::default()
    });
    let evaluations = record.evaluations.iter().map(|row| Row {
        kind: if row.ends_epoch { "epoch" } else { "evaluation" },
        step: (!row.ends_epoch).then_some(row.step),
        epoch: row.epochs,
        train_loss: known(row.train_loss),
        train_accuracy: known(row.train_accuracy),
        test_loss: known(row.test_loss),
        test_accuracy: known(row.test_accuracy),
        ema_test_loss: known(row.ema_loss),
        ema_test_accuracy: known(row.ema_accuracy),
        img_per_s: known(row.img_per_s),
        device_bytes: row.device_bytes,
        ..Row::default()
    });
    let rows: Vec<Row> = steps.chain(evaluations).collect();
    files::write_whole(path, |file| {
        let mut table = csv::Writer::from_writer(file);
        for row in &rows {
            table.serialize(row).map_err(|error| Error::file(path, error.to_string()))?;
        }
        table.flush().map_err(Error::io("write", path))
    })
}
