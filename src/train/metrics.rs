//! `metrics.jsonl`: a line per logged step and a line per epoch.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::evaluation::Evaluation;
use crate::error::{Error, Result};
use crate::files;

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// A logged step.
    Step(StepLine),
    /// A finished epoch.
    Epoch(EpochLine),
    /// An evaluation within an epoch.
    Evaluation(EvaluationLine),
}

/// A logged step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepLine {
    /// From 1.
    pub step: u64,
    /// From 1.
    pub epoch: u32,
    /// Before the update.
    pub loss: f32,
    /// Of this step.
    pub lr: f64,
    /// Norm of the gradients before clipping, without the loss scale; `null` where f16 overflowed.
    pub grad_norm: f32,
    /// The factor on the next step's gradients; only in mixed precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f32>,
    /// Since the last logged step.
    pub img_per_s: f64,
}

/// How well the network did on the test split; shares are fractions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestLine {
    /// Mean cross-entropy, without label smoothing.
    pub test_loss: f64,
    /// Share of correct predictions: top-1.
    pub test_accuracy: f64,
    /// Share of samples whose class is among the five most probable.
    #[serde(default)]
    pub test_top5_accuracy: f64,
    /// Mean F1 over the classes.
    #[serde(default)]
    pub test_macro_f1: f64,
    /// Expected calibration error.
    #[serde(default)]
    pub test_ece: f64,
}

impl From<&Evaluation> for TestLine {
    fn from(evaluation: &Evaluation) -> TestLine {
        TestLine {
            test_loss: evaluation.loss,
            test_accuracy: evaluation.accuracy,
            test_top5_accuracy: evaluation.top5_accuracy,
            test_macro_f1: evaluation.macro_f1(),
            test_ece: evaluation.ece,
        }
    }
}

/// An evaluation within an epoch, by `--eval-every`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationLine {
    /// Steps done.
    pub step: u64,
    /// From 1.
    pub epoch: u32,
    /// On the test split.
    #[serde(flatten)]
    pub test: TestLine,
    /// On the test split with the running averages of the weights, if they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<TestLine>,
}

/// A finished epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochLine {
    /// From 1.
    pub epoch: u32,
    /// Mean over the epoch's steps, as trained (with label smoothing, dropout, ...).
    pub train_loss: f64,
    /// Share of correct predictions while training.
    pub train_accuracy: f64,
    /// On the test split.
    #[serde(flatten)]
    pub test: TestLine,
    /// Over the epoch's steps, without its evaluation.
    #[serde(default)]
    pub img_per_s: f64,
    /// Bytes of all buffers on a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_bytes: Option<u64>,
    /// On the test split with the running averages of the weights, if they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<TestLine>,
}

/// The open file.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens a run's metrics, cut back to what was written up to a step and a number of epochs.
    pub fn open(run: &Path, step: u64, epochs: u32) -> Result<Metrics> {
        let path = run.join("metrics.jsonl");
        if path.exists() {
            let text = files::read_text(&path)?;
            let kept: Vec<&str> = text.lines().filter(|line| is_kept(line, step, epochs)).collect();
            files::write_atomic(&path, |file| kept.iter().try_for_each(|line| writeln!(file, "{line}")))?;
        }
        let file =
            OpenOptions::new().append(true).create(true).open(&path).map_err(Error::io("open", &path))?;
        Ok(Metrics { path, file })
    }

    /// Appends a line.
    pub fn write(&mut self, line: &Line) -> Result<()> {
        let mut text =
            serde_json::to_string(line).map_err(|error| Error::file(&self.path, error.to_string()))?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(Error::io("write", &self.path))
    }

    /// Makes all lines durable.
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("write", &self.path))
    }
}

/// Whether a line was written before the checkpoint; half a line, left by a crash, was not. Goes by the two numbers
/// alone: a loss that is not finite is `null`, which is no [`Line`].
fn is_kept(line: &str, step: u64, epochs: u32) -> bool {
    let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { return false };
    let number = |name: &str| line.get(name).and_then(serde_json::Value::as_u64);
    match number("step") {
        Some(number) => number <= step,
        None => number("epoch").is_some_and(|number| number <= u64::from(epochs)),
    }
}

/// All lines of a run's metrics, passing over damaged ones.
pub fn read(run: &Path) -> Result<Vec<Line>> {
    let text = files::read_text(&run.join("metrics.jsonl"))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}
