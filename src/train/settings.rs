use std::sync::Arc;

use super::feed::Placement;
use super::groups::GroupRules;
use super::program::{Loss, Task};
use super::recipe::{Control, Length, Precision, Recipe, Recompute, ResolvedRecipe};
use crate::augment::{Augmentation, Mixing};
use crate::data::Dataset;
use crate::graph::Update;
use crate::optim::{AdaptiveClip, Ema, Schedule};

/// What a training run needs to know besides model and data.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Images per step; at most the training split.
    pub batch_size: usize,
    /// Samples that a step takes in at a time, a divisor of the batch size; as many as fit if left open.
    pub micro_batch_size: Option<usize>,
    /// Bytes that the run may allocate on the device.
    pub memory_limit: Option<u64>,
    /// Whether activations that are cheap to make again are kept for the backward pass.
    pub recompute: Recompute,
    /// How long to train.
    pub length: Length,
    /// The optimizer.
    pub update: Arc<dyn Update>,
    /// Weight decay, learning-rate factors and frozen parameters.
    pub groups: GroupRules,
    /// The learning rate.
    pub schedule: Schedule,
    /// What is minimised in place of cross-entropy; a recipe cannot say it.
    pub loss: Option<Arc<dyn Loss>>,
    /// Share of the target that is spread over all classes.
    pub label_smoothing: f32,
    /// The type of activations and their gradients.
    pub precision: Precision,
    /// Gradients with a larger norm are scaled to it.
    pub clip_norm: Option<f32>,
    /// Elements of gradients are brought within this of zero.
    pub clip_value: Option<f32>,
    /// The gradient of each unit is clipped to a share of its weights' norm.
    pub adaptive_clip: Option<AdaptiveClip>,
    /// Running averages of the weights.
    pub ema: Option<Ema>,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Whether each epoch has its own order.
    pub shuffle: bool,
    /// Steps between lines of the metrics.
    pub log_every: u64,
    /// Steps between checkpoints, besides the one at the end of each epoch.
    pub checkpoint_every: Option<u64>,
    /// Evaluations, kept checkpoints and early ends.
    pub control: Control,
    /// Whether the data set may be kept on the device.
    pub placement: Placement,
    /// What the shorter side of pictures was resized to; kept with the model.
    pub resize: Option<usize>,
    /// What is done to training samples.
    pub augmentation: Augmentation,
    /// How they are mixed.
    pub mixing: Mixing,
}

impl Default for Settings {
    /// What `wgrad train` has where no setting is given.
    fn default() -> Settings {
        let recipe = Recipe::default().resolve().expect("the defaults are in their ranges");
        Settings::of(&recipe, recipe.batch_size)
    }
}

impl Settings {
    /// What a model is trained for on a data set with these settings.
    pub fn task(&self, data: &Dataset) -> Task {
        Task {
            image: data.image,
            classes: data.classes.len(),
            batch_size: self.batch_size,
            label_smoothing: self.label_smoothing,
            precision: self.precision,
        }
    }

    /// The settings of a recipe, with a batch size that the data set can fill.
    pub fn of(recipe: &ResolvedRecipe, batch_size: usize) -> Settings {
        Settings {
            batch_size,
            micro_batch_size: recipe.micro_batch_size,
            memory_limit: recipe.memory_limit.map(|size| size.0),
            recompute: recipe.recompute,
            length: recipe.length,
            update: recipe.algorithm.update(),
            groups: recipe.groups.clone(),
            schedule: recipe.schedule.clone(),
            loss: None,
            label_smoothing: recipe.label_smoothing as f32,
            precision: recipe.precision,
            clip_norm: recipe.clip_norm.map(|norm| norm as f32),
            clip_value: recipe.clip_value.map(|value| value as f32),
            adaptive_clip: recipe.adaptive_clip,
            ema: recipe.ema,
            seed: recipe.seed,
            shuffle: recipe.shuffle,
            log_every: u64::from(recipe.log_every),
            checkpoint_every: recipe.checkpoint_every.map(u64::from),
            control: recipe.control,
            placement: Placement::Auto,
            resize: recipe.size.map(|size| size.shorter),
            augmentation: recipe.augmentation,
            mixing: recipe.mixing,
        }
    }
}
