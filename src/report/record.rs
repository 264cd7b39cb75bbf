//! What a run has written of itself, read without trust: a damaged line is named and passed over.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files;
use crate::train::metrics::StepLine;

/// A run as its folder tells it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The run folder.
    pub path: PathBuf,
    /// The folder's own name.
    pub name: String,
    /// `recipe.toml` as it stands; empty if it cannot be read.
    pub recipe: String,
    /// The recipe's settings by key; those of tables as `table.key`.
    pub settings: IndexMap<String, String>,
    /// Logged steps, in order.
    pub steps: Vec<StepRow>,
    /// Evaluations, in order: one per epoch, and those within epochs.
    pub evaluations: Vec<EvaluationRow>,
    /// What is missing or damaged, each in one line that names the file.
    pub warnings: Vec<String>,
}

/// A logged step; what was not finite is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRow {
    /// From 1.
    pub step: u64,
    /// From 1.
    pub epoch: u64,
    /// Before the update.
    pub loss: f64,
    /// The learning rate.
    pub lr: f64,
    /// Norm of the gradients before clipping.
    pub grad_norm: f64,
    /// The factor on gradients in mixed precision; NaN in f32.
    pub loss_scale: f64,
    /// Images per second.
    pub img_per_s: f64,
}

impl From<&StepLine> for StepRow {
    fn from(line: &StepLine) -> StepRow {
        let StepLine { step, epoch, loss, lr, grad_norm, loss_scale, img_per_s } = *line;
        StepRow {
            step,
            epoch: epoch.into(),
            loss: loss.into(),
            lr,
            grad_norm: grad_norm.into(),
            loss_scale: loss_scale.map_or(f64::NAN, f64::from),
            img_per_s,
        }
    }
}

/// An evaluation; what was not finite or is not known is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvaluationRow {
    /// Epochs done, a fraction within an epoch.
    pub epochs: f64,
    /// Steps done; of those at the end of an epoch, to within the steps between two lines.
    pub step: u64,
    /// Whether an epoch ended here; only then there are figures of training.
    pub ends_epoch: bool,
    /// Mean loss over the epoch.
    pub train_loss: f64,
    /// Share of correct predictions while training.
    pub train_accuracy: f64,
    /// On the test split.
    pub test_loss: f64,
    /// On the test split, a fraction.
    pub test_accuracy: f64,
    /// With the running averages of the weights.
    pub ema_loss: f64,
    /// With the running averages of the weights.
    pub ema_accuracy: f64,
    /// Images per second over the epoch.
    pub img_per_s: f64,
    /// Bytes of all buffers on a GPU.
    pub device_bytes: Option<u64>,
}

impl Record {
    /// Reads a run folder. What is damaged becomes a warning; only what is no run folder is an error.
    pub fn read(path: &Path) -> Result<Record> {
        crate::train::Run::open(path)?;
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let name = whole.file_name().map_or_else(|| "run".to_string(), |name| name.to_string_lossy().into());
        let mut record = Record { path: path.to_path_buf(), name, ..Record::default() };
        record.read_recipe();
        record.read_metrics();
        Ok(record)
    }

    fn read_recipe(&mut self) {
        let path = self.path.join("recipe.toml");
        let parsed = files::read_text(&path).and_then(|text| {
            let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
                Error::file(&path, error.message().lines().next().unwrap_or("is damaged").to_string())
            })?;
            Ok((text, table))
        });
        match parsed {
            Ok((text, table)) => {
                self.recipe = text;
                flatten("", &table, &mut self.settings);
            }
            Err(error) => self.warnings.push(error.to_string()),
        }
    }

    fn read_metrics(&mut self) {
        let path = self.path.join("metrics.jsonl");
        let bytes = match std::fs::read(&path).map_err(Error::io("read", &path)) {
            Ok(bytes) => bytes,
            Err(error) => return self.warnings.push(error.to_string()),
        };
        let mut damaged = vec![];
        for (number, line) in (1..).zip(String::from_utf8_lossy(&bytes).lines()) {
            let known = serde_json::from_str::<Map<String, Value>>(line).is_ok_and(|line| self.take(&line));
            if !known {
                damaged.push(number);
            }
        }
        if let Some(first) = damaged.first() {
            let more = match damaged.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            self.warnings.push(format!("{} line {first}{more} is damaged and passed over", path.display()));
        }
        self.place_evaluations();
    }

    /// Takes a line of `metrics.jsonl`; false if it is none.
    fn take(&mut self, line: &Map<String, Value>) -> bool {
        let number = |name: &str| line.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let Some(epoch) = line.get("epoch").and_then(Value::as_u64) else { return false };
        let step = line.get("step").and_then(Value::as_u64);
        if let (Some(step), true) = (step, line.contains_key("loss")) {
            self.steps.push(StepRow {
                step,
                epoch,
                loss: number("loss"),
                lr: number("lr"),
                grad_norm: number("grad_norm"),
                loss_scale: number("loss_scale"),
                img_per_s: number("img_per_s"),
            });
            return true;
        }
        let ends_epoch = line.contains_key("train_loss");
        if !line.contains_key("test_loss") || step.is_none() != ends_epoch {
            return false;
        }
        let ema = |name: &str| {
            let value = line.get("ema").and_then(|ema| ema.get(name)).and_then(Value::as_f64);
            value.unwrap_or(f64::NAN)
        };
        self.evaluations.push(EvaluationRow {
            epochs: epoch as f64,
            step: step.unwrap_or(0),
            ends_epoch,
            train_loss: number("train_loss"),
            train_accuracy: number("train_accuracy"),
            test_loss: number("test_loss"),
            test_accuracy: number("test_accuracy"),
            ema_loss: ema("test_loss"),
            ema_accuracy: ema("test_accuracy"),
            img_per_s: number("img_per_s"),
            device_bytes: line.get("device_bytes").and_then(Value::as_u64),
        });
        true
    }

    /// Gives evaluations within epochs their fraction, and those at the end their step.
    fn place_evaluations(&mut self) {
        let within = self.evaluations.iter().filter(|row| !row.ends_epoch);
        let seen = within.map(|row| (row.step, row.epochs));
        let seen = seen.chain(self.steps.iter().map(|row| (row.step, row.epoch as f64)));
        // An epoch has at least so many steps, and few more.
        let per_epoch = seen.map(|(step, epoch)| step as f64 / epoch).max_by(f64::total_cmp).unwrap_or(1.0);
        for row in &mut self.evaluations {
            if row.ends_epoch {
                row.step = (row.epochs * per_epoch).round() as u64;
            } else {
                row.epochs = row.step as f64 / per_epoch;
            }
        }
    }

    /// The rows that end epochs.
    pub fn epochs(&self) -> impl Iterator<Item = &EvaluationRow> {
        self.evaluations.iter().filter(|row| row.ends_epoch)
    }

    /// The evaluation with the highest test accuracy, the first of equals.
    pub fn best(&self) -> Option<&EvaluationRow> {
        let finite = self.evaluations.iter().filter(|row| row.test_accuracy.is_finite());
        finite.rev().max_by(|a, b| a.test_accuracy.total_cmp(&b.test_accuracy))
    }

    /// The last evaluation.
    pub fn last(&self) -> Option<&EvaluationRow> {
        self.evaluations.last()
    }

    /// Mean images per second over the epochs.
    pub fn throughput(&self) -> Option<f64> {
        let rates: Vec<f64> =
            self.epochs().map(|row| row.img_per_s).filter(|rate| rate.is_finite()).collect();
        (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64)
    }

    /// A setting of the recipe, as text.
    pub fn setting(&self, key: &str) -> &str {
        self.settings.get(key).map_or("", String::as_str)
    }
}

fn flatten(prefix: &str, table: &toml::Table, settings: &mut IndexMap<String, String>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            toml::Value::Table(inner) => flatten(&format!("{key}."), inner, settings),
            toml::Value::String(text) => _ = settings.insert(key, text.clone()),
            other => _ = settings.insert(key, other.to_string()),
        }
    }
}
