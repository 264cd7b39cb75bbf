//! Settings of evaluations, kept checkpoints and early ends.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Recipe;
use super::check::{count, not_negative};
use crate::error::{Error, Result};
use crate::train::control::{Monitor, Rule};

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

impl Recipe {
    pub(super) fn control(&self) -> Result<Control> {
        let eval_every = self.eval_every.map(|steps| count("--eval-every", steps)).transpose()?;
        let patience = self.patience.map(|patience| count("--patience", patience)).transpose()?;
        let rule = Rule {
            monitor: self.monitor.unwrap_or(Monitor::TestAccuracy),
            min_delta: not_negative("--min-delta", self.min_delta.unwrap_or(0.0))?,
            keep_best: self.keep_best.unwrap_or(1) as usize,
            keep_last: self.keep_last.unwrap_or(0) as usize,
        };
        let overfit_one_batch = self.overfit_one_batch.unwrap_or(false);
        Ok(Control { eval_every, rule, patience, max_time: self.max_time, overfit_one_batch })
    }
}

impl Control {
    pub(super) fn write(&self, recipe: &mut Recipe) {
        recipe.eval_every = self.eval_every;
        recipe.monitor = Some(self.rule.monitor);
        recipe.min_delta = Some(self.rule.min_delta);
        recipe.keep_best = Some(self.rule.keep_best as u32);
        recipe.keep_last = Some(self.rule.keep_last as u32);
        recipe.patience = self.patience;
        recipe.max_time = self.max_time;
        recipe.overfit_one_batch = Some(self.overfit_one_batch);
    }
}
