//! The arguments of `wgrad train`: a recipe file and a flag for each of its settings.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use crate::data::DataSource;
use crate::error::Result;
use crate::train::recipe::{
    DeviceChoice, MemorySize, OptimizerName, Precision, Recipe, Recompute, ResolvedRecipe, ScheduleName,
};

const EXAMPLES: &str = "Lengths of schedules are in steps (updates), over the whole run. Every flag can be in the recipe, as a line such
as `batch_size = 32` (for --no-shuffle, --no-normalize: `shuffle = false`, `normalize = false`); flags come before
the recipe. Relative paths, in the recipe too, are relative to the current directory. Without a recipe, --data and
--model, a recipe for the built-in digits is the base.

Example:
  wgrad train
  wgrad train --data mnist:data/mnist --model lenet5 --epochs 3 --lr 0.05 --momentum 0.9
  wgrad train recipe.toml --seed 1 --out runs/second";

/// The arguments of `wgrad train`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// A file of settings; the recipe.toml of a run's folder is one
    #[arg(value_name = "RECIPE.toml")]
    pub recipe: Option<PathBuf>,
    /// The flags.
    #[command(flatten)]
    pub flags: RecipeFlags,
}

/// A flag for each setting of a [`Recipe`].
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct RecipeFlags {
    /// digits, mnist:DIR, fashion-mnist:DIR, cifar10:DIR, cifar100:DIR, folder:DIR or tensors:FILE.safetensors
    /// [default: digits]
    #[arg(long, value_name = "SOURCE", help_heading = "Data and model")]
    pub data: Option<DataSource>,
    /// A built-in model (seed-cnn, digits-cnn, lenet5, small-cnn, mobilenet_v2-cifar, resnet18-cifar, resnet50) or a TOML file [default: digits-cnn
    /// for the digits, else small-cnn]
    #[arg(long, value_name = "NAME|FILE", help_heading = "Data and model")]
    pub model: Option<String>,
    /// Start from the weights in this safetensors file, taken by name
    #[arg(long, value_name = "FILE", help_heading = "Data and model")]
    pub init: Option<PathBuf>,
    /// Take the samples in file order, without augmentation
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    #[arg(value_name = "BOOL", help_heading = "Data and model")]
    pub no_shuffle: Option<bool>,
    /// Leave pixels at 0..1 instead of normalising each channel
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    #[arg(value_name = "BOOL", help_heading = "Data and model")]
    pub no_normalize: Option<bool>,

    /// Passes over the training samples [default: 10]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Length",
        conflicts_with = "max_steps"
    )]
    pub epochs: Option<u32>,
    /// Steps to do, instead of --epochs
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Length")]
    pub max_steps: Option<u32>,
    /// Samples in a step [default: 64]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Length")]
    pub batch_size: Option<u32>,
    /// Samples that a step takes in at a time; gradients are added up [default: as many as fit]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Length")]
    pub micro_batch_size: Option<u32>,

    /// Optimizer [default: sgd]
    #[arg(long, value_name = "NAME", help_heading = "Optimizer and loss")]
    pub optimizer: Option<OptimizerName>,
    /// Learning rate; one-cycle's maximum [default: 0.001]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Optimizer and loss")]
    pub lr: Option<f64>,
    /// sgd: factor on the running gradient [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Optimizer and loss")]
    pub momentum: Option<f64>,
    /// sgd: how much of a new gradient is left out of the running one [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Optimizer and loss")]
    pub dampening: Option<f64>,
    /// sgd: look ahead by the running gradient
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    #[arg(value_name = "BOOL", help_heading = "Optimizer and loss")]
    pub nesterov: Option<bool>,
    /// adam, adamw: decay of the averages of gradient and square [default: 0.9,0.999]
    #[arg(long, value_name = "B1,B2", value_parser = pair, help_heading = "Optimizer and loss")]
    #[arg(allow_hyphen_values = true)]
    pub betas: Option<[f64; 2]>,
    /// adam, adamw: added to the denominator [default: 1e-8]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Optimizer and loss")]
    pub eps: Option<f64>,
    /// Decay of all parameters [default: 0; adamw: 0.01]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Optimizer and loss")]
    pub weight_decay: Option<f64>,
    /// Part of the target that is spread over all classes [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Optimizer and loss")]
    pub label_smoothing: Option<f64>,
    /// Scale gradients down to this norm, all together [default: never]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Optimizer and loss")]
    pub clip_norm: Option<f64>,

    /// How the learning rate changes [default: constant]
    #[arg(long, value_name = "NAME", help_heading = "Schedule")]
    pub schedule: Option<ScheduleName>,
    /// First raise the learning rate linearly for so many steps [default: 0]
    #[arg(long, value_name = "STEPS", allow_negative_numbers = true, help_heading = "Schedule")]
    pub warmup_steps: Option<u32>,
    /// cosine: the learning rate at the end [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Schedule")]
    pub min_lr: Option<f64>,
    /// step: steps between two decays
    #[arg(long, value_name = "STEPS", allow_negative_numbers = true, help_heading = "Schedule")]
    pub step_size: Option<u32>,
    /// step, multi-step, exponential: the factor of a decay [default: 0.1; exponential needs it]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Schedule")]
    pub gamma: Option<f64>,
    /// multi-step: the steps after which the rate decays
    #[arg(long, value_name = "STEPS,...", value_delimiter = ',', help_heading = "Schedule")]
    pub milestones: Option<Vec<u32>>,
    /// one-cycle: part of the run in which the rate rises [default: 0.3]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Schedule")]
    pub pct_start: Option<f64>,
    /// one-cycle: the highest rate over the first [default: 25]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Schedule")]
    pub div_factor: Option<f64>,
    /// one-cycle: the first rate over the last [default: 10000]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Schedule")]
    pub final_div_factor: Option<f64>,

    /// The type of activations and their gradients: f32, or f16 with f32 weights and a loss scale [default: f32]
    #[arg(long, value_name = "TYPE", help_heading = "Run")]
    pub precision: Option<Precision>,
    /// Seed of split, initial weights, order and dropout [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Run")]
    pub seed: Option<u64>,
    /// Where to compute: auto, cpu, gpu, or an index or a name from `wgrad devices` [default: auto]
    #[arg(long, value_name = "DEVICE", help_heading = "Run")]
    pub device: Option<DeviceChoice>,
    /// Multiply matrices of f16 cooperatively (tensor cores) where the device is proved to; it changes results in their
    /// last bits [default: false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    #[arg(value_name = "BOOL", help_heading = "Run")]
    pub cooperative: Option<bool>,
    /// The most to allocate on the device, such as 512MiB or 2GB [default: all that it has]
    #[arg(long, value_name = "SIZE", help_heading = "Run")]
    pub memory_limit: Option<MemorySize>,
    /// Make cheap activations again in the backward pass instead of keeping them; no result changes [default: auto, which
    /// does on the CPU, and on a GPU before it splits a step]
    #[arg(long, value_name = "WHEN", help_heading = "Run")]
    pub recompute: Option<Recompute>,
    /// The folder of the run [default: a new one in runs/]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: Option<PathBuf>,
    /// Write a checkpoint every so many steps, besides the one of each epoch
    #[arg(long, value_name = "STEPS", allow_negative_numbers = true, help_heading = "Run")]
    pub checkpoint_every: Option<u32>,
    /// Steps between lines of metrics.jsonl [default: 10]
    #[arg(long, value_name = "STEPS", allow_negative_numbers = true, help_heading = "Run")]
    pub log_every: Option<u32>,
    /// Print nothing but errors
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    #[arg(value_name = "BOOL", help_heading = "Run")]
    pub quiet: Option<bool>,
}

impl TrainArgs {
    /// The settings of the run: flags over the recipe file over defaults, all checked.
    pub fn resolve(&self) -> Result<ResolvedRecipe> {
        let file = self.recipe.as_deref().map(Recipe::load).transpose()?;
        Recipe::from_flags(self.flags.clone().into(), file).resolve()
    }
}

impl From<RecipeFlags> for Recipe {
    fn from(flags: RecipeFlags) -> Recipe {
        Recipe {
            data: flags.data,
            model: flags.model,
            init: flags.init,
            epochs: flags.epochs,
            max_steps: flags.max_steps,
            batch_size: flags.batch_size,
            micro_batch_size: flags.micro_batch_size,
            memory_limit: flags.memory_limit,
            recompute: flags.recompute,
            shuffle: flags.no_shuffle.map(|no| !no),
            normalize: flags.no_normalize.map(|no| !no),
            optimizer: flags.optimizer,
            lr: flags.lr,
            momentum: flags.momentum,
            dampening: flags.dampening,
            nesterov: flags.nesterov,
            betas: flags.betas,
            eps: flags.eps,
            weight_decay: flags.weight_decay,
            label_smoothing: flags.label_smoothing,
            clip_norm: flags.clip_norm,
            schedule: flags.schedule,
            warmup_steps: flags.warmup_steps,
            min_lr: flags.min_lr,
            step_size: flags.step_size,
            gamma: flags.gamma,
            milestones: flags.milestones,
            pct_start: flags.pct_start,
            div_factor: flags.div_factor,
            final_div_factor: flags.final_div_factor,
            precision: flags.precision,
            seed: flags.seed,
            device: flags.device,
            cooperative: flags.cooperative,
            out: flags.out,
            checkpoint_every: flags.checkpoint_every,
            log_every: flags.log_every,
            quiet: flags.quiet,
        }
    }
}

impl ValueEnum for OptimizerName {
    fn value_variants<'a>() -> &'a [OptimizerName] {
        &OptimizerName::ALL
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ValueEnum for Precision {
    fn value_variants<'a>() -> &'a [Precision] {
        &Precision::ALL
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ValueEnum for Recompute {
    fn value_variants<'a>() -> &'a [Recompute] {
        &Recompute::ALL
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ValueEnum for ScheduleName {
    fn value_variants<'a>() -> &'a [ScheduleName] {
        &ScheduleName::ALL
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

fn pair(text: &str) -> Result<[f64; 2], String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    let pair = numbers.and_then(|numbers| <[f64; 2]>::try_from(numbers).ok());
    pair.ok_or_else(|| "expected two numbers, such as 0.9,0.999".to_string())
}
