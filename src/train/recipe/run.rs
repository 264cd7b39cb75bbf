//! Where and how a run is done, and what it leaves behind.

use std::path::PathBuf;

use super::range::{count, require};
use super::theme::{names, theme};
use super::{DeviceChoice, MemorySize, Recompute};
use crate::error::Result;
use crate::graph::{Graph, Mode};
use crate::ops::cast::autocast;

theme! {
/// The run: device, precision, seed, what is written and when.
#[command(next_help_heading = "Run")]
pub struct RunSettings {
    /// The type of activations and their gradients: f32, or f16 with f32 weights and a loss scale [default: f32]
    #[arg(long, value_name = "TYPE")]
    pub precision: Option<Precision>,
    /// Seed of split, initial weights, order and dropout [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// Where to compute: auto, cpu, gpu, or an index or a name from `wgrad devices` [default: auto]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    /// Multiply matrices of f16 cooperatively (tensor cores) where the device is proved to; it changes results in their
    /// last bits [default: false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub cooperative: Option<bool>,
    /// The most to allocate on the device, such as 512MiB or 2GB [default: all that it has]
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<MemorySize>,
    /// Make cheap activations again in the backward pass instead of keeping them; no result changes [default: auto, which
    /// does on the CPU, and on a GPU before it splits a step]
    #[arg(long, value_name = "WHEN")]
    pub recompute: Option<Recompute>,
    /// The folder of the run [default: a new one in runs/]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write a checkpoint every so many steps, besides the one of each epoch
    #[arg(long, value_name = "STEPS", allow_negative_numbers = true)]
    pub checkpoint_every: Option<u32>,
    /// Steps between lines of metrics.jsonl [default: 10]
    #[arg(long, value_name = "STEPS", allow_negative_numbers = true)]
    pub log_every: Option<u32>,
    /// Write events for TensorBoard into the run's folder: metrics, settings, weights, filters [default: false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub tensorboard: Option<bool>,
    /// Print nothing but errors
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub quiet: Option<bool>,
}
}

names! { "precision",
/// The type of activations and their gradients, by its name in flags and recipes.
pub enum Precision {
    /// All 32-bit floats.
    #[default]
    F32 = "f32",
    /// 16-bit floats where shapes allow that, with f32 sums, weights and statistics and a loss scale: `torch.amp`.
    F16 = "f16",
}
}

impl Precision {
    /// An empty graph of this precision.
    pub fn graph(self, mode: Mode) -> Graph {
        match self {
            Precision::F32 => Graph::new(mode),
            Precision::F16 => autocast(Graph::new(mode)),
        }
    }
}

impl RunSettings {
    pub(super) fn seed(&self) -> Result<u64> {
        let (seed, most) = (self.seed.unwrap_or(0), i64::MAX as u64);
        require(seed <= most, "--seed", seed, format!("at most {most}, the largest number in TOML"))?;
        Ok(seed)
    }

    pub(super) fn checkpoint_every(&self) -> Result<Option<u32>> {
        self.checkpoint_every.map(|steps| count("--checkpoint-every", steps)).transpose()
    }

    pub(super) fn log_every(&self) -> Result<u32> {
        count("--log-every", self.log_every.unwrap_or(10))
    }
}
