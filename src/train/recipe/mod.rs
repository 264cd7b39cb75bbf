//! Recipes: every setting of a training run, from flags, a TOML file and defaults.
//!
//! A recipe file is a flat TOML file whose keys are the flags of `wgrad train` with `_` for `-`; the flags
//! `--no-shuffle` and `--no-normalize` are `shuffle = false` and `normalize = false`. Flags come before the file, the
//! file before the defaults. Relative paths in a recipe file are relative to the current directory, like those in
//! flags, not to the file. The run's folder keeps the [`ResolvedRecipe`], in which everything is definite; it is a
//! recipe file itself.

mod check;
mod dependent;
mod device;
mod file;
mod memory;
mod resolved;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::DataSource;
use crate::graph::{Graph, Mode};
use crate::ops::cast::autocast;

pub use device::DeviceChoice;
pub use memory::{MemorySize, Recompute};
pub use resolved::{Algorithm, Length, ResolvedRecipe};

/// Settings of a run, each of which may be left open: the flags, or a recipe file. [`Recipe::resolve`] settles them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The data set; `digits` if left open.
    pub data: Option<DataSource>,
    /// A built-in model's name or a TOML file; `digits-cnn` for the digits and `small-cnn` for all else if left open.
    pub model: Option<String>,
    /// A safetensors file of weights to start from, taken by name.
    pub init: Option<PathBuf>,
    /// Passes over the training samples; 10 if neither this nor `max_steps` is given.
    pub epochs: Option<u32>,
    /// Steps (optimizer updates) to do, instead of `epochs`.
    pub max_steps: Option<u32>,
    /// Samples in a step; 64 if left open.
    pub batch_size: Option<u32>,
    /// Samples that a step takes in at a time, a divisor of `batch_size`; as many as fit if left open.
    pub micro_batch_size: Option<u32>,
    /// What the run may allocate on the device; all that there is if left open.
    pub memory_limit: Option<MemorySize>,
    /// Whether activations that are cheap to make again are kept for the backward pass; `auto` if left open.
    pub recompute: Option<Recompute>,
    /// Whether every epoch has an order of its own; if not, samples come in file order. True if left open.
    pub shuffle: Option<bool>,
    /// Whether pixels are shifted and scaled, per channel, to mean 0 and deviation 1 over the training samples. True if
    /// left open.
    pub normalize: Option<bool>,
    /// The optimizer; SGD if left open.
    pub optimizer: Option<OptimizerName>,
    /// Learning rate (a one-cycle's maximum); 0.001 if left open.
    pub lr: Option<f64>,
    /// SGD: factor on the running gradient; 0 if left open.
    pub momentum: Option<f64>,
    /// SGD: how much of a new gradient is left out of the running one; 0 if left open.
    pub dampening: Option<f64>,
    /// SGD: whether to look ahead by the running gradient; false if left open.
    pub nesterov: Option<bool>,
    /// Adam: decay of the averages of the gradient and of its square; 0.9 and 0.999 if left open.
    pub betas: Option<[f64; 2]>,
    /// Adam: added to the denominator; 1e-8 if left open.
    pub eps: Option<f64>,
    /// Decay of all parameters: through the gradient, with AdamW by itself. 0 if left open, with AdamW 0.01.
    pub weight_decay: Option<f64>,
    /// Part of the target that is spread over all classes; 0 if left open.
    pub label_smoothing: Option<f64>,
    /// Gradients are scaled down to this norm, all together; not at all if left open.
    pub clip_norm: Option<f64>,
    /// How the learning rate changes; constant if left open.
    pub schedule: Option<ScheduleName>,
    /// Steps in which the learning rate first rises, linearly; 0 if left open. Not with one-cycle, which rises by itself.
    pub warmup_steps: Option<u32>,
    /// Cosine: the learning rate at the end; 0 if left open.
    pub min_lr: Option<f64>,
    /// Step: steps (not epochs) between two decays.
    pub step_size: Option<u32>,
    /// Step, multi-step, exponential: the factor of a decay; 0.1 if left open, but exponential needs it.
    pub gamma: Option<f64>,
    /// Multi-step: the steps (not epochs) after which the rate decays.
    pub milestones: Option<Vec<u32>>,
    /// One-cycle: part of the run in which the rate rises; 0.3 if left open.
    pub pct_start: Option<f64>,
    /// One-cycle: the highest rate over the first; 25 if left open.
    pub div_factor: Option<f64>,
    /// One-cycle: the first rate over the last; 10000 if left open.
    pub final_div_factor: Option<f64>,
    /// The type of activations and their gradients; f32 if left open.
    pub precision: Option<Precision>,
    /// Seed of split, initial weights, order and dropout; 0 if left open.
    pub seed: Option<u64>,
    /// The device; `auto` if left open.
    pub device: Option<DeviceChoice>,
    /// Whether matrices of f16 are multiplied cooperatively where the device is proved to; false if left open.
    pub cooperative: Option<bool>,
    /// The folder of the run. Not kept in a run's recipe, whose folder it is.
    pub out: Option<PathBuf>,
    /// Steps between checkpoints, besides the one at the end of each epoch; none if left open.
    pub checkpoint_every: Option<u32>,
    /// Steps between lines of `metrics.jsonl`; 10 if left open.
    pub log_every: Option<u32>,
    /// Whether to print nothing but errors; false if left open.
    pub quiet: Option<bool>,
}

/// An optimizer, by its name in flags and recipes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// `torch.optim.SGD`.
    #[default]
    Sgd,
    /// `torch.optim.Adam`.
    Adam,
    /// `torch.optim.AdamW`.
    AdamW,
}

/// The type of activations and their gradients, by its name in flags and recipes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// All 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats where shapes allow that, with f32 sums, weights and statistics and a loss scale: `torch.amp`.
    F16,
}

/// A schedule, by its name in flags and recipes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleName {
    /// No change.
    #[default]
    Constant,
    /// `StepLR`.
    Step,
    /// `MultiStepLR`.
    MultiStep,
    /// `ExponentialLR`.
    Exponential,
    /// `CosineAnnealingLR` over the run.
    Cosine,
    /// `OneCycleLR` over the run.
    OneCycle,
}

impl OptimizerName {
    /// All of them.
    pub const ALL: [OptimizerName; 3] = [OptimizerName::Sgd, OptimizerName::Adam, OptimizerName::AdamW];

    /// As flags and recipes have it.
    pub fn name(self) -> &'static str {
        match self {
            OptimizerName::Sgd => "sgd",
            OptimizerName::Adam => "adam",
            OptimizerName::AdamW => "adamw",
        }
    }
}

impl Precision {
    /// Both.
    pub const ALL: [Precision; 2] = [Precision::F32, Precision::F16];

    /// As flags and recipes have it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        }
    }

    /// An empty graph of this precision.
    pub fn graph(self, mode: Mode) -> Graph {
        match self {
            Precision::F32 => Graph::new(mode),
            Precision::F16 => autocast(Graph::new(mode)),
        }
    }
}

impl ScheduleName {
    /// All of them.
    pub const ALL: [ScheduleName; 6] = [
        ScheduleName::Constant,
        ScheduleName::Step,
        ScheduleName::MultiStep,
        ScheduleName::Exponential,
        ScheduleName::Cosine,
        ScheduleName::OneCycle,
    ];

    /// As flags and recipes have it.
    pub fn name(self) -> &'static str {
        match self {
            ScheduleName::Constant => "constant",
            ScheduleName::Step => "step",
            ScheduleName::MultiStep => "multi-step",
            ScheduleName::Exponential => "exponential",
            ScheduleName::Cosine => "cosine",
            ScheduleName::OneCycle => "one-cycle",
        }
    }
}

impl Recipe {
    /// What `wgrad train` is to do: the flags over the recipe file, or over the digits recipe if there is no file and
    /// the flags name neither data nor model.
    pub fn from_flags(flags: Recipe, file: Option<Recipe>) -> Recipe {
        match file {
            Some(file) => flags.over(file),
            None if flags.data.is_none() && flags.model.is_none() => flags.over(Recipe::digits()),
            None => flags,
        }
    }

    /// These settings, and `base`'s where they are open.
    ///
    /// Settings of `base` that belong to a choice which these settings change are set aside: its momentum under
    /// another optimizer, its milestones under another schedule, its epochs under `max_steps`.
    pub fn over(self, mut base: Recipe) -> Recipe {
        base.yield_to(&self);
        Recipe {
            data: self.data.or(base.data),
            model: self.model.or(base.model),
            init: self.init.or(base.init),
            epochs: self.epochs.or(base.epochs),
            max_steps: self.max_steps.or(base.max_steps),
            batch_size: self.batch_size.or(base.batch_size),
            micro_batch_size: self.micro_batch_size.or(base.micro_batch_size),
            memory_limit: self.memory_limit.or(base.memory_limit),
            recompute: self.recompute.or(base.recompute),
            shuffle: self.shuffle.or(base.shuffle),
            normalize: self.normalize.or(base.normalize),
            optimizer: self.optimizer.or(base.optimizer),
            lr: self.lr.or(base.lr),
            momentum: self.momentum.or(base.momentum),
            dampening: self.dampening.or(base.dampening),
            nesterov: self.nesterov.or(base.nesterov),
            betas: self.betas.or(base.betas),
            eps: self.eps.or(base.eps),
            weight_decay: self.weight_decay.or(base.weight_decay),
            label_smoothing: self.label_smoothing.or(base.label_smoothing),
            clip_norm: self.clip_norm.or(base.clip_norm),
            schedule: self.schedule.or(base.schedule),
            warmup_steps: self.warmup_steps.or(base.warmup_steps),
            min_lr: self.min_lr.or(base.min_lr),
            step_size: self.step_size.or(base.step_size),
            gamma: self.gamma.or(base.gamma),
            milestones: self.milestones.or(base.milestones),
            pct_start: self.pct_start.or(base.pct_start),
            div_factor: self.div_factor.or(base.div_factor),
            final_div_factor: self.final_div_factor.or(base.final_div_factor),
            precision: self.precision.or(base.precision),
            seed: self.seed.or(base.seed),
            device: self.device.or(base.device),
            cooperative: self.cooperative.or(base.cooperative),
            out: self.out.or(base.out),
            checkpoint_every: self.checkpoint_every.or(base.checkpoint_every),
            log_every: self.log_every.or(base.log_every),
            quiet: self.quiet.or(base.quiet),
        }
    }
}
