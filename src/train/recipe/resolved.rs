use std::path::PathBuf;

use super::schedule::check_schedule;
use super::{
    Algorithm, AugmentSettings, Control, DeviceChoice, GroupSettings, InputSettings, Length, LengthSettings,
    MemorySize, OptimizerSettings, Precision, Recipe, Recompute, RunSettings, ScheduleSettings,
};
use crate::augment::{Augmentation, Mixing};
use crate::data::{DataSource, ImageSize, LoadOptions};
use crate::error::Result;
use crate::optim::{AdaptiveClip, Ema, RunLength, Schedule};
use crate::train::groups::GroupRules;

/// A recipe in which everything is definite and within its range; made by [`Recipe::resolve`].
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedRecipe {
    /// The data set.
    pub data: DataSource,
    /// The size that pictures of a folder are given.
    pub size: Option<ImageSize>,
    /// Whether files that cannot be read are left out.
    pub skip_bad: bool,
    /// A file that keeps decoded pictures.
    pub cache: Option<PathBuf>,
    /// A built-in model's name or a TOML file.
    pub model: String,
    /// Weights to start from.
    pub init: Option<PathBuf>,
    /// Weights of a network of other classes: a file, or `hf:OWNER/NAME`.
    pub pretrained: Option<String>,
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
    /// Weight decay, learning-rate factors and frozen parameters.
    pub groups: GroupRules,
    /// Part of the target that is spread over all classes.
    pub label_smoothing: f64,
    /// Norm to which gradients are scaled down.
    pub clip_norm: Option<f64>,
    /// What elements of gradients are brought within of zero.
    pub clip_value: Option<f64>,
    /// Clipping of each unit's gradient by its weights.
    pub adaptive_clip: Option<AdaptiveClip>,
    /// Running averages of the weights.
    pub ema: Option<Ema>,
    /// The learning rate of every step.
    pub schedule: Schedule,
    /// Evaluations, kept checkpoints and early ends.
    pub control: Control,
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
    /// Whether events for TensorBoard are written into the run's folder.
    pub tensorboard: bool,
    /// Whether to print nothing but errors.
    pub quiet: bool,
    /// What is done to training samples, as it was given.
    pub augment: AugmentSettings,
    /// The same with defaults.
    pub augmentation: Augmentation,
    /// How training samples are mixed.
    pub mixing: Mixing,
}

impl ResolvedRecipe {
    /// Steps of the whole run, once the data set is known. Fails if there are more than fit in 32 bits or no more than
    /// the warmup has, or if the learning rate grows beyond what a 32-bit float holds.
    pub fn total_steps(&self, steps_per_epoch: u64) -> Result<u64> {
        let total = self.length.total_steps(steps_per_epoch)?;
        check_schedule(&self.schedule, RunLength { steps: total, steps_per_epoch })?;
        Ok(total)
    }

    /// How the data set is read.
    pub fn load_options(&self) -> LoadOptions {
        let (seed, size, skip_bad, cache) = (self.seed, self.size, self.skip_bad, self.cache.clone());
        LoadOptions { seed, size, skip_bad, cache }
    }

    /// The same as a recipe in which nothing is left open but what does not apply.
    pub fn to_recipe(&self) -> Recipe {
        Recipe {
            input: InputSettings {
                data: Some(self.data.clone()),
                model: Some(self.model.clone()),
                init: self.init.clone(),
                pretrained: self.pretrained.clone(),
                shuffle: Some(self.shuffle),
                normalize: Some(self.normalize),
                image_size: self.size.map(|size| size.image as u32),
                resize_size: self.size.map(|size| size.shorter as u32),
                skip_bad: Some(self.skip_bad),
                cache: self.cache.clone(),
            },
            length: LengthSettings {
                batch_size: Some(self.batch_size as u32),
                micro_batch_size: self.micro_batch_size.map(|size| size as u32),
                ..self.length.settings()
            },
            optimizer: OptimizerSettings {
                lr: Some(self.schedule.lr),
                weight_decay: Some(self.groups.weight_decay),
                label_smoothing: Some(self.label_smoothing),
                clip_norm: self.clip_norm,
                clip_value: self.clip_value,
                clip_adaptive: self.adaptive_clip.map(|clip| clip.clip_factor),
                ema_decay: self.ema.map(|ema| ema.decay),
                ema_warmup: self.ema.map(|ema| ema.warmup),
                ..self.algorithm.settings()
            },
            schedule: ScheduleSettings::of(&self.schedule),
            control: self.control.settings(),
            run: RunSettings {
                precision: Some(self.precision),
                seed: Some(self.seed),
                device: Some(self.device.clone()),
                cooperative: Some(self.cooperative),
                memory_limit: self.memory_limit,
                recompute: Some(self.recompute),
                out: self.out.clone(),
                checkpoint_every: self.checkpoint_every,
                log_every: Some(self.log_every),
                tensorboard: Some(self.tensorboard),
                quiet: Some(self.quiet),
            },
            groups: GroupSettings::of(&self.groups),
            augment: self.augment.clone(),
        }
    }
}
