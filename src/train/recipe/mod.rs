//! Recipes: every setting of a training run, from flags, a TOML file and defaults.
//!
//! A recipe file is a flat TOML file whose keys are the flags of `wgrad train` with `_` for `-`; the flags
//! `--no-shuffle` and `--no-normalize` are `shuffle = false` and `normalize = false`. Flags come before the file, the
//! file before the defaults. Relative paths in a recipe file are relative to the current directory, like those in
//! flags, not to the file. The run's folder keeps the [`ResolvedRecipe`], in which everything is definite; it is a
//! recipe file itself.
//!
//! Settings are declared by theme, one file each: key, flag and help in one place, then their ranges and defaults.

mod augment;
#[cfg(test)]
mod augment_tests;
mod control;
mod dependent;
mod device;
mod file;
mod groups;
mod input;
mod length;
mod memory;
mod optimizer;
mod range;
mod resolved;
mod run;
mod schedule;
#[cfg(test)]
mod tests;
mod theme;

use serde::Serialize;

pub use augment::{AugmentSettings, AutoName, Interpolation, PaddingMode};
pub use control::{Control, ControlSettings, MaxTime};
pub use device::DeviceChoice;
pub use groups::{GroupSettings, GroupTable};
pub use input::InputSettings;
pub use length::{Length, LengthSettings};
pub use memory::{MemorySize, Recompute};
pub use optimizer::{AdjustLrName, Algorithm, OptimizerName, OptimizerSettings};
pub use resolved::ResolvedRecipe;
pub use run::{Precision, RunSettings};
pub use schedule::{ScheduleName, ScheduleSettings, UnitName};

use crate::augment::Crop;
use crate::error::Result;
use theme::Theme;
pub(super) use theme::names;

/// Settings of a run, each of which may be left open: the flags, or a recipe file. [`Recipe::resolve`] settles them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, clap::Args)]
pub struct Recipe {
    /// Data and model.
    #[serde(flatten)]
    #[command(flatten)]
    pub input: InputSettings,
    /// Length of the run and of its steps.
    #[serde(flatten)]
    #[command(flatten)]
    pub length: LengthSettings,
    /// Optimizer and loss.
    #[serde(flatten)]
    #[command(flatten)]
    pub optimizer: OptimizerSettings,
    /// The learning rate's schedule.
    #[serde(flatten)]
    #[command(flatten)]
    pub schedule: ScheduleSettings,
    /// Evaluations, kept checkpoints and early ends.
    #[serde(flatten)]
    #[command(flatten)]
    pub control: ControlSettings,
    /// The run.
    #[serde(flatten)]
    #[command(flatten)]
    pub run: RunSettings,
    /// Parameter groups; last, because the tables of a TOML file are.
    #[serde(flatten)]
    #[command(flatten)]
    pub groups: GroupSettings,
    /// Augmentation: a table of its own.
    #[serde(skip_serializing_if = "is_open")]
    #[command(flatten)]
    pub augment: AugmentSettings,
}

fn is_open(augment: &AugmentSettings) -> bool {
    *augment == AugmentSettings::default()
}

impl Recipe {
    /// What `wgrad train` is to do: the flags over the recipe file, or over the digits recipe if there is no file and
    /// the flags name neither data nor model.
    pub fn from_flags(flags: Recipe, file: Option<Recipe>) -> Recipe {
        match file {
            Some(file) => flags.over(file),
            None if flags.input.data.is_none() && flags.input.model.is_none() => flags.over(Recipe::digits()),
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
            input: self.input.over(base.input),
            length: self.length.over(base.length),
            optimizer: self.optimizer.over(base.optimizer),
            schedule: self.schedule.over(base.schedule),
            control: self.control.over(base.control),
            run: self.run.over(base.run),
            groups: self.groups.over(base.groups),
            augment: self.augment.over(base.augment),
        }
    }

    /// Drops what belongs to choices that `flags` change.
    fn yield_to(&mut self, flags: &Recipe) {
        self.length.yield_to(&flags.length);
        self.augment.yield_to(&flags.augment);
        if flags.schedule.warmup_steps.is_some() || flags.schedule.warmup_share.is_some() {
            (self.schedule.warmup_steps, self.schedule.warmup_share) = (None, None);
        }
        let optimizer = flags.optimizer.optimizer.filter(|chosen| Some(*chosen) != self.optimizer.optimizer);
        if let Some(optimizer) = optimizer {
            dependent::clear_misfits(self.optimizer.dependents(optimizer));
        }
        let schedule = flags.schedule.schedule.filter(|chosen| Some(*chosen) != self.schedule.schedule);
        if let Some(schedule) = schedule {
            dependent::clear_misfits(self.schedule.dependents(schedule));
        }
    }

    /// Refuses settings that the chosen optimizer and schedule do not have.
    fn check_fit(&self) -> Result<()> {
        let mut copy = self.clone();
        dependent::check(copy.optimizer.dependents(self.optimizer.optimizer.unwrap_or_default()))?;
        dependent::check(copy.schedule.dependents(self.schedule.schedule.unwrap_or_default()))
    }

    /// Settles what is open by defaults (PyTorch's where it has some), and checks every value.
    pub fn resolve(self) -> Result<ResolvedRecipe> {
        self.check_fit()?;
        let augmentation = self.augment.augmentation()?;
        // What is trained on is then tested on as well.
        let one_batch = self.control.overfit_one_batch == Some(true);
        let resolved = ResolvedRecipe {
            model: self.input.model()?,
            data: self.input.data(),
            size: self.input.size(if one_batch { Crop::Centre } else { augmentation.crop })?,
            skip_bad: self.input.skip_bad.unwrap_or(false),
            cache: self.input.cache.clone(),
            length: self.length.length()?,
            batch_size: self.length.batch_size()?,
            micro_batch_size: self.length.micro_batch_size()?,
            memory_limit: self.run.memory_limit,
            recompute: self.run.recompute.unwrap_or_default(),
            shuffle: self.input.shuffle.unwrap_or(true),
            normalize: self.input.normalize.unwrap_or(true),
            algorithm: self.optimizer.algorithm()?,
            groups: self.groups.rules(self.optimizer.weight_decay()?)?,
            label_smoothing: self.optimizer.label_smoothing()?,
            clip_norm: self.optimizer.clip_norm()?,
            clip_value: self.optimizer.clip_value()?,
            adaptive_clip: self.optimizer.adaptive_clip()?,
            ema: self.optimizer.ema()?,
            schedule: self.schedule.schedule(self.optimizer.lr()?)?,
            control: self.control.control(self.optimizer.ema_decay.is_some())?,
            precision: self.run.precision.unwrap_or_default(),
            seed: self.run.seed()?,
            checkpoint_every: self.run.checkpoint_every()?,
            log_every: self.run.log_every()?,
            tensorboard: self.run.tensorboard.unwrap_or(false),
            quiet: self.run.quiet.unwrap_or(false),
            device: self.run.device.unwrap_or(DeviceChoice::Auto),
            cooperative: self.run.cooperative.unwrap_or(false),
            pretrained: self.input.pretrained()?,
            init: self.input.init,
            out: self.run.out,
            augmentation,
            mixing: self.augment.mixing()?,
            augment: self.augment,
        };
        if let Length::Steps(steps) = resolved.length {
            schedule::check_warmup(&resolved.schedule, steps.into())?;
        }
        Ok(resolved)
    }
}
