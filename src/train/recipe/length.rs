//! How long a run is, and how much of the data a step takes in.

use super::range::{count, fail};
use super::theme::theme;
use crate::error::{Error, Result};

theme! {
/// Length of the run and of its steps.
#[command(next_help_heading = "Length")]
pub struct LengthSettings {
    /// Passes over the training samples [default: 10]
    #[arg(long, value_name = "N", allow_negative_numbers = true, conflicts_with = "max_steps")]
    pub epochs: Option<u32>,
    /// Steps to do, instead of --epochs
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub max_steps: Option<u32>,
    /// Samples in a step [default: 64]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub batch_size: Option<u32>,
    /// Samples that a step takes in at a time; gradients are added up [default: as many as fit]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub micro_batch_size: Option<u32>,
}
}

/// How long to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Passes over the training samples.
    Epochs(u32),
    /// Optimizer updates.
    Steps(u32),
}

impl Length {
    /// Steps of the whole run; fails if there are more than fit in 32 bits.
    pub(super) fn total_steps(self, steps_per_epoch: u64) -> Result<u64> {
        let total = match self {
            Length::Epochs(epochs) => u64::from(epochs).saturating_mul(steps_per_epoch),
            Length::Steps(steps) => u64::from(steps),
        };
        if total > u64::from(u32::MAX) {
            return Err(Error::Recipe(format!(
                "the run would have {total} steps; the most is {}: give fewer --epochs or a larger --batch-size",
                u32::MAX
            )));
        }
        Ok(total)
    }

    pub(super) fn settings(self) -> LengthSettings {
        let (epochs, max_steps) = match self {
            Length::Epochs(epochs) => (Some(epochs), None),
            Length::Steps(steps) => (None, Some(steps)),
        };
        LengthSettings { epochs, max_steps, ..LengthSettings::default() }
    }
}

impl LengthSettings {
    pub(super) fn length(&self) -> Result<Length> {
        match (self.epochs, self.max_steps) {
            (Some(_), Some(_)) => fail("--epochs and --max-steps exclude each other; give one of them"),
            (None, Some(steps)) => count("--max-steps", steps).map(Length::Steps),
            (epochs, None) => count("--epochs", epochs.unwrap_or(10)).map(Length::Epochs),
        }
    }

    pub(super) fn batch_size(&self) -> Result<usize> {
        Ok(count("--batch-size", self.batch_size.unwrap_or(64))? as usize)
    }

    pub(super) fn micro_batch_size(&self) -> Result<Option<usize>> {
        let size = self.micro_batch_size.map(|size| count("--micro-batch-size", size)).transpose()?;
        Ok(size.map(|size| size as usize))
    }

    /// Drops the length if `flags` give another.
    pub(super) fn yield_to(&mut self, flags: &LengthSettings) {
        if flags.epochs.is_some() || flags.max_steps.is_some() {
            (self.epochs, self.max_steps) = (None, None);
        }
    }
}
