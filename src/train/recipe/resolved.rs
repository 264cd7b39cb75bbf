use std::path::PathBuf;
use std::sync::Arc;

use super::{DeviceChoice, MemorySize, OptimizerName, Precision, Recipe, Recompute, ScheduleName};
use crate::data::DataSource;
use crate::error::{Error, Result};
use crate::graph::Update;
use crate::optim::{Adam, Curve, Schedule, Sgd};

/// A recipe in which everything is definite and within its range; made by [`Recipe::resolve`].
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedRecipe {
    /// The data set.
    pub data: DataSource,
    /// A built-in model's name or a TOML file.
    pub model: String,
    /// Weights to start from.
    pub init: Option<PathBuf>,
    /// How long to train.
    pub length: Length,
    /// Samples in a step.
    pub batch_size: usize,
    /// Samples that a step takes in at a time.
    pub micro_batch_size: Option<usize>,
    /// What the run may allocate on the device.
    pub memory_limit: Option<MemorySize>,
    /// Whether activations that are cheap to make again are kept for the backward pass.
    pub recompute: Recompute,
    /// Whether every epoch has an order of its own.
    pub shuffle: bool,
    /// Whether pixels are normalised.
    pub normalize: bool,
    /// The optimizer.
    pub algorithm: Algorithm,
    /// Decay of all parameters.
    pub weight_decay: f64,
    /// Part of the target that is spread over all classes.
    pub label_smoothing: f64,
    /// Norm to which gradients are scaled down.
    pub clip_norm: Option<f64>,
    /// The learning rate of every step.
    pub schedule: Schedule,
    /// The type of activations and their gradients.
    pub precision: Precision,
    /// Seed of split, initial weights, order and dropout.
    pub seed: u64,
    /// The device.
    pub device: DeviceChoice,
    /// Whether matrices of f16 are multiplied cooperatively where the device is proved to.
    pub cooperative: bool,
    /// The folder of the run, if it was given.
    pub out: Option<PathBuf>,
    /// Steps between checkpoints, besides the one at the end of each epoch.
    pub checkpoint_every: Option<u32>,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: u32,
    /// Whether to print nothing but errors.
    pub quiet: bool,
}

/// How long to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Passes over the training samples.
    Epochs(u32),
    /// Optimizer updates.
    Steps(u32),
}

/// An optimizer with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Algorithm {
    /// SGD.
    Sgd(Sgd),
    /// Adam or AdamW.
    Adam(Adam),
}

impl Algorithm {
    /// Its elementwise rule, for [`crate::plan::Optimizer`].
    pub fn update(&self) -> Arc<dyn Update> {
        match *self {
            Algorithm::Sgd(sgd) => Arc::new(sgd),
            Algorithm::Adam(adam) => Arc::new(adam),
        }
    }

    /// Its name in flags and recipes.
    pub fn name(&self) -> OptimizerName {
        match self {
            Algorithm::Sgd(_) => OptimizerName::Sgd,
            Algorithm::Adam(Adam { decoupled: false, .. }) => OptimizerName::Adam,
            Algorithm::Adam(Adam { decoupled: true, .. }) => OptimizerName::AdamW,
        }
    }
}

impl ResolvedRecipe {
    /// Steps of the whole run, once the data set is known. Fails if there are more than fit in 32 bits or no more than
    /// the warmup has, or if the learning rate grows beyond what a 32-bit float holds.
    pub fn total_steps(&self, steps_per_epoch: u64) -> Result<u64> {
        let total = match self.length {
            Length::Epochs(epochs) => u64::from(epochs).saturating_mul(steps_per_epoch),
            Length::Steps(steps) => u64::from(steps),
        };
        if total > u64::from(u32::MAX) {
            return Err(Error::Recipe(format!(
                "the run would have {total} steps; the most is {}: give fewer --epochs or a larger --batch-size",
                u32::MAX
            )));
        }
        self.check_warmup(total)?;
        let last = self.schedule.learning_rate(total.saturating_sub(1), total);
        if !(last as f32).is_finite() {
            return Err(Error::Recipe(format!(
                "the learning rate would grow to {last:e} in {total} steps; use a smaller --gamma"
            )));
        }
        Ok(total)
    }

    pub(super) fn check_warmup(&self, total: u64) -> Result<()> {
        let warmup = self.schedule.warmup_steps;
        if warmup > 0 && warmup >= total {
            return Err(Error::Recipe(format!(
                "--warmup-steps is {warmup}, but the run has {total} steps; it must be less"
            )));
        }
        Ok(())
    }

    /// The same as a recipe in which nothing is left open but what does not apply.
    pub fn to_recipe(&self) -> Recipe {
        let (epochs, max_steps) = match self.length {
            Length::Epochs(epochs) => (Some(epochs), None),
            Length::Steps(steps) => (None, Some(steps)),
        };
        let mut recipe = Recipe {
            data: Some(self.data.clone()),
            model: Some(self.model.clone()),
            init: self.init.clone(),
            epochs,
            max_steps,
            batch_size: Some(self.batch_size as u32),
            micro_batch_size: self.micro_batch_size.map(|size| size as u32),
            memory_limit: self.memory_limit,
            recompute: Some(self.recompute),
            shuffle: Some(self.shuffle),
            normalize: Some(self.normalize),
            weight_decay: Some(self.weight_decay),
            label_smoothing: Some(self.label_smoothing),
            clip_norm: self.clip_norm,
            lr: Some(self.schedule.lr),
            precision: Some(self.precision),
            seed: Some(self.seed),
            device: Some(self.device.clone()),
            cooperative: Some(self.cooperative),
            out: self.out.clone(),
            checkpoint_every: self.checkpoint_every,
            log_every: Some(self.log_every),
            quiet: Some(self.quiet),
            ..Recipe::default()
        };
        self.write_algorithm(&mut recipe);
        self.write_schedule(&mut recipe);
        recipe
    }

    fn write_algorithm(&self, recipe: &mut Recipe) {
        recipe.optimizer = Some(self.algorithm.name());
        match self.algorithm {
            Algorithm::Sgd(Sgd { momentum, dampening, nesterov }) => {
                recipe.momentum = Some(momentum);
                recipe.dampening = Some(dampening);
                recipe.nesterov = Some(nesterov);
            }
            Algorithm::Adam(Adam { betas, eps, .. }) => {
                recipe.betas = Some(betas);
                recipe.eps = Some(eps);
            }
        }
    }

    fn write_schedule(&self, recipe: &mut Recipe) {
        let steps = |steps: u64| steps as u32;
        recipe.warmup_steps = Some(steps(self.schedule.warmup_steps));
        recipe.schedule = Some(match &self.schedule.curve {
            Curve::Constant => ScheduleName::Constant,
            Curve::Step { step_size, gamma } => {
                (recipe.step_size, recipe.gamma) = (Some(steps(*step_size)), Some(*gamma));
                ScheduleName::Step
            }
            Curve::MultiStep { milestones, gamma } => {
                recipe.milestones = Some(milestones.iter().copied().map(steps).collect());
                recipe.gamma = Some(*gamma);
                ScheduleName::MultiStep
            }
            Curve::Exponential { gamma } => {
                recipe.gamma = Some(*gamma);
                ScheduleName::Exponential
            }
            Curve::Cosine { min_lr } => {
                recipe.min_lr = Some(*min_lr);
                ScheduleName::Cosine
            }
            Curve::OneCycle { pct_start, div_factor, final_div_factor } => {
                recipe.warmup_steps = None;
                recipe.pct_start = Some(*pct_start);
                recipe.div_factor = Some(*div_factor);
                recipe.final_div_factor = Some(*final_div_factor);
                ScheduleName::OneCycle
            }
        });
    }
}
