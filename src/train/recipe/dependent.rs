//! Settings that only some optimizers or schedules have.

use std::fmt;

use super::{OptimizerName, Recipe, ScheduleName};
use crate::error::{Error, Result};

/// A setting of a recipe that belongs to certain choices.
struct Dependent<'a> {
    flag: &'static str,
    setting: &'a mut dyn Setting,
    /// Whether it belongs to what is chosen.
    fits: bool,
    /// What it belongs to.
    home: &'static str,
    chosen: &'static str,
}

trait Setting {
    fn is_open(&self) -> bool;
    fn clear(&mut self);
}

impl<T: fmt::Debug> Setting for Option<T> {
    fn is_open(&self) -> bool {
        self.is_none()
    }
    fn clear(&mut self) {
        *self = None;
    }
}

impl Recipe {
    /// Drops what belongs to choices that `flags` change.
    pub(super) fn yield_to(&mut self, flags: &Recipe) {
        if flags.epochs.is_some() || flags.max_steps.is_some() {
            (self.epochs, self.max_steps) = (None, None);
        }
        if let Some(optimizer) = flags.optimizer.filter(|chosen| Some(*chosen) != self.optimizer) {
            clear_misfits(self.of_optimizers(optimizer));
        }
        if let Some(schedule) = flags.schedule.filter(|chosen| Some(*chosen) != self.schedule) {
            clear_misfits(self.of_schedules(schedule));
        }
    }

    /// Refuses settings that the chosen optimizer and schedule do not have.
    pub(super) fn check_fit(&self) -> Result<()> {
        let mut copy = self.clone();
        check(copy.of_optimizers(self.optimizer.unwrap_or_default()))?;
        check(copy.of_schedules(self.schedule.unwrap_or_default()))
    }

    fn of_optimizers(&mut self, chosen: OptimizerName) -> Vec<Dependent<'_>> {
        let sgd = chosen == OptimizerName::Sgd;
        let [of_sgd, of_adam] = ["--optimizer sgd", "--optimizer adam or adamw"];
        let dependents: [(_, &mut dyn Setting, _, _); 5] = [
            ("--momentum", &mut self.momentum, sgd, of_sgd),
            ("--dampening", &mut self.dampening, sgd, of_sgd),
            ("--nesterov", &mut self.nesterov, sgd, of_sgd),
            ("--betas", &mut self.betas, !sgd, of_adam),
            ("--eps", &mut self.eps, !sgd, of_adam),
        ];
        with_choice(dependents, chosen.name())
    }

    fn of_schedules(&mut self, chosen: ScheduleName) -> Vec<Dependent<'_>> {
        use ScheduleName::*;
        let is = |names: &[ScheduleName]| names.contains(&chosen);
        let of_one_cycle = "--schedule one-cycle";
        let dependents: [(_, &mut dyn Setting, _, _); 8] = [
            (
                "--warmup-steps",
                &mut self.warmup_steps,
                !is(&[OneCycle]),
                "schedules that do not rise by themselves as one-cycle does",
            ),
            ("--min-lr", &mut self.min_lr, is(&[Cosine]), "--schedule cosine"),
            ("--step-size", &mut self.step_size, is(&[Step]), "--schedule step"),
            (
                "--gamma",
                &mut self.gamma,
                is(&[Step, MultiStep, Exponential]),
                "--schedule step, multi-step or exponential",
            ),
            ("--milestones", &mut self.milestones, is(&[MultiStep]), "--schedule multi-step"),
            ("--pct-start", &mut self.pct_start, is(&[OneCycle]), of_one_cycle),
            ("--div-factor", &mut self.div_factor, is(&[OneCycle]), of_one_cycle),
            ("--final-div-factor", &mut self.final_div_factor, is(&[OneCycle]), of_one_cycle),
        ];
        with_choice(dependents, chosen.name())
    }
}

fn with_choice<'a, const N: usize>(
    dependents: [(&'static str, &'a mut dyn Setting, bool, &'static str); N],
    chosen: &'static str,
) -> Vec<Dependent<'a>> {
    let dependents = dependents.into_iter();
    dependents.map(|(flag, setting, fits, home)| Dependent { flag, setting, fits, home, chosen }).collect()
}

fn clear_misfits(dependents: Vec<Dependent<'_>>) {
    dependents
        .into_iter()
        .filter(|dependent| !dependent.fits)
        .for_each(|dependent| dependent.setting.clear());
}

fn check(dependents: Vec<Dependent<'_>>) -> Result<()> {
    match dependents.iter().find(|dependent| !dependent.fits && !dependent.setting.is_open()) {
        None => Ok(()),
        Some(Dependent { flag, home, chosen, .. }) => {
            Err(Error::Recipe(format!("{flag} goes with {home}, not with {chosen}")))
        }
    }
}
