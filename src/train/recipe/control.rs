//! Settings of evaluations, kept checkpoints and early ends.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::range::{count, not_negative};
use super::theme::theme;
use crate::error::{Error, Result};
use crate::train::control::{Monitor, Rule, Tta};

theme! {
/// When a run is evaluated, which checkpoints it keeps, and what ends it early.
#[command(next_help_heading = "Evaluation and checkpoints")]
pub struct ControlSettings {
    /// Also evaluate every so many steps, besides the end of each epoch
    #[arg(long, value_name = "STEPS", allow_negative_numbers = true)]
    pub eval_every: Option<u32>,
    /// The metric by which evaluations are compared [default: test_accuracy]
    #[arg(long, value_name = "METRIC")]
    pub monitor: Option<Monitor>,
    /// By how much it must become better to count as an improvement [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub min_delta: Option<f64>,
    /// Stop after so many evaluations without improvement [default: never]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub patience: Option<u32>,
    /// Keep the checkpoints of so many of the best evaluations [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub keep_best: Option<u32>,
    /// Keep the checkpoints of so many of the last evaluations [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub keep_last: Option<u32>,
    /// Stop after this time, such as 90s, 45m or "1h 30m"; `wgrad resume` goes on [default: never]
    #[arg(long, value_name = "TIME")]
    pub max_time: Option<MaxTime>,
    /// Classify images by the mean of views once training has ended, and in eval, predict and serve: none, flip (the mirror
    /// image too), translate (shifted by a pixel to two sides too), or flip-translate (all of these: six times the work)
    /// [default: none]
    #[arg(long, value_name = "VIEWS", hide_possible_values = true)]
    pub tta: Option<Tta>,
    /// Train on the first batch only and test on the same: a network that cannot learn it has a mistake
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub overfit_one_batch: Option<bool>,
}
}

/// When a run is evaluated, what it keeps, and what ends it early.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Control {
    /// Steps between evaluations, besides the one at the end of each epoch.
    pub eval_every: Option<u32>,
    /// How evaluations are compared, and how many checkpoints are kept for them.
    pub rule: Rule,
    /// Evaluations without improvement after which training ends.
    pub patience: Option<u32>,
    /// After how long a process stops training; the run can be resumed.
    pub max_time: Option<MaxTime>,
    /// The views of an image that the evaluation at the end averages.
    pub tta: Tta,
    /// Whether to train on one batch only, and to test on the same.
    pub overfit_one_batch: bool,
}

/// The value of `--max-time`, such as `90s`, `45m` or `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxTime(pub Duration);

impl FromStr for MaxTime {
    type Err = Error;

    fn from_str(text: &str) -> Result<MaxTime> {
        let time = humantime::parse_duration(text.trim()).ok().filter(|time| !time.is_zero());
        time.map(MaxTime).ok_or_else(|| {
            Error::Recipe(format!(
                "--max-time is \"{text}\"; give a time above 0, such as 90s, 45m or \"1h 30m\""
            ))
        })
    }
}

impl fmt::Display for MaxTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for MaxTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MaxTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MaxTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl ControlSettings {
    pub(super) fn control(&self, keeps_averages: bool) -> Result<Control> {
        let eval_every = self.eval_every.map(|steps| count("--eval-every", steps)).transpose()?;
        let patience = self.patience.map(|patience| count("--patience", patience)).transpose()?;
        let rule = Rule {
            monitor: self.monitor.unwrap_or(Monitor::TestAccuracy),
            min_delta: not_negative("--min-delta", self.min_delta.unwrap_or(0.0))?,
            keep_best: self.keep_best.unwrap_or(1) as usize,
            keep_last: self.keep_last.unwrap_or(0) as usize,
        };
        if rule.monitor.is_of_averages() && !keeps_averages {
            return Err(Error::Recipe(format!(
                "--monitor {} is of running averages of the weights; --ema-decay keeps them",
                rule.monitor.name()
            )));
        }
        let overfit_one_batch = self.overfit_one_batch.unwrap_or(false);
        let tta = self.tta.unwrap_or_default();
        Ok(Control { eval_every, rule, patience, max_time: self.max_time, tta, overfit_one_batch })
    }
}

impl Control {
    pub(super) fn settings(&self) -> ControlSettings {
        ControlSettings {
            eval_every: self.eval_every,
            monitor: Some(self.rule.monitor),
            min_delta: Some(self.rule.min_delta),
            patience: self.patience,
            keep_best: Some(self.rule.keep_best as u32),
            keep_last: Some(self.rule.keep_last as u32),
            max_time: self.max_time,
            tta: Some(self.tta),
            overfit_one_batch: Some(self.overfit_one_batch),
        }
    }
}
