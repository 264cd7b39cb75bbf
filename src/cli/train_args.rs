//! The arguments of `wgrad train`: a recipe file and a flag for each of its settings.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::Result;
use crate::train::recipe::{Recipe, ResolvedRecipe};

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
    /// Only check that it would work: load the data, do one step and one evaluation, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON: a line per logged step and per evaluation, as in metrics.jsonl, then the last evaluation
    #[arg(long)]
    pub json: bool,
    /// How progress is shown
    #[arg(long, value_name = "HOW", default_value = "auto", conflicts_with = "json")]
    pub ui: Ui,
    /// The flags: one for each setting of a recipe.
    #[command(flatten)]
    pub flags: Recipe,
}

/// How a run's progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Ui {
    /// A bar on a terminal, plain lines elsewhere
    #[default]
    Auto,
    /// A live dashboard: curves, mistakes, log, and keys to pause, save and stop
    #[cfg(feature = "tui")]
    Tui,
}

impl Ui {
    /// Fails if it cannot be shown here.
    pub(super) fn check(self) -> Result<()> {
        match self {
            Ui::Auto => Ok(()),
            #[cfg(feature = "tui")]
            Ui::Tui => super::dashboard::require_terminal(),
        }
    }
}

impl TrainArgs {
    /// The settings of the run: flags over the recipe file over defaults, all checked.
    pub fn resolve(&self) -> Result<ResolvedRecipe> {
        let file = self.recipe.as_deref().map(Recipe::load).transpose()?;
        Recipe::from_flags(self.flags.clone(), file).resolve()
    }
}
