//! How the learning rate changes.

use super::dependent::{Dependent, Setting, with_choice};
use super::range::{below_one, count, fail, positive, require, within_one};
use super::theme::{names, theme};
use crate::error::{Error, Result};
use crate::optim::{Anneal, Curve, Plateau, RunLength, Schedule, Unit, Warmup};

theme! {
/// The learning rate's schedule.
#[command(next_help_heading = "Schedule")]
pub struct ScheduleSettings {
    /// How the learning rate changes [default: constant]
    #[arg(long, value_name = "NAME")]
    pub schedule: Option<ScheduleName>,
    /// First raise the learning rate linearly for so many steps [default: 0]
    #[arg(long, value_name = "STEPS", allow_negative_numbers = true)]
    pub warmup_steps: Option<u32>,
    /// Do so in this share of the run, such as 0.05, instead of --warmup-steps
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub warmup_share: Option<f64>,
    /// What lengths of the schedule count after the warmup, and how often the rate changes: step or epoch [default: step]
    #[arg(long, value_name = "UNIT")]
    pub schedule_per: Option<UnitName>,
    /// cosine, warm-restarts: the learning rate at the end; reduce-on-plateau: the lowest [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub min_lr: Option<f64>,
    /// step: steps (epochs, if --schedule-per says so) between two decays
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub step_size: Option<u32>,
    /// step, multi-step, exponential: the factor of a decay [default: 0.1; exponential needs it]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub gamma: Option<f64>,
    /// multi-step: the steps, or epochs, after which the rate decays
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    pub milestones: Option<Vec<u32>>,
    /// one-cycle: part of the run in which the rate rises [default: 0.3]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub pct_start: Option<f64>,
    /// one-cycle: the highest rate over the first [default: 25]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub div_factor: Option<f64>,
    /// one-cycle: the first rate over the last [default: 10000]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub final_div_factor: Option<f64>,
    /// one-cycle: the way up and down [default: cos]
    #[arg(long, value_name = "NAME")]
    pub anneal_strategy: Option<AnnealName>,
    /// polynomial: the exponent [default: 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub power: Option<f64>,
    /// warm-restarts: steps, or epochs, of the first cosine
    #[arg(long = "t-0", value_name = "N", allow_negative_numbers = true)]
    pub t_0: Option<u32>,
    /// warm-restarts: how many times as long each cosine is as the one before [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub t_mult: Option<u32>,
    /// reduce-on-plateau: the factor of a reduction [default: 0.1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub plateau_factor: Option<f64>,
    /// reduce-on-plateau: epochs without a better test loss that are borne [default: 10]
    #[arg(long, value_name = "EPOCHS", allow_negative_numbers = true)]
    pub plateau_patience: Option<u32>,
    /// reduce-on-plateau: the share by which a loss has to be below the best to be better [default: 1e-4]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub plateau_threshold: Option<f64>,
    /// reduce-on-plateau: epochs after a reduction that do not count [default: 0]
    #[arg(long, value_name = "EPOCHS", allow_negative_numbers = true)]
    pub plateau_cooldown: Option<u32>,
}
}

names! { "schedule",
/// A schedule, by its name in flags and recipes.
pub enum ScheduleName {
    /// No change.
    #[default]
    Constant = "constant",
    /// `StepLR`.
    Step = "step",
    /// `MultiStepLR`.
    MultiStep = "multi-step",
    /// `ExponentialLR`.
    Exponential = "exponential",
    /// `CosineAnnealingLR` over the run.
    Cosine = "cosine",
    /// `OneCycleLR` over the run.
    OneCycle = "one-cycle",
    /// `PolynomialLR` over the run.
    Polynomial = "polynomial",
    /// `CosineAnnealingWarmRestarts`.
    WarmRestarts = "warm-restarts",
    /// `ReduceLROnPlateau` by the test loss of each epoch.
    ReduceOnPlateau = "reduce-on-plateau",
}
}

names! { "anneal strategy",
/// How a one-cycle rises and falls.
pub enum AnnealName {
    /// Along half a cosine.
    #[default]
    Cosine = "cos",
    /// Along a straight line.
    Linear = "linear",
}
}

names! { "unit",
/// What the lengths of a schedule count.
pub enum UnitName {
    /// Optimizer updates.
    #[default]
    Step = "step",
    /// Passes over the training samples.
    Epoch = "epoch",
}
}

impl ScheduleSettings {
    pub(super) fn schedule(&self, lr: f64) -> Result<Schedule> {
        let warmup = match (self.warmup_steps, self.warmup_share) {
            (Some(_), Some(_)) => {
                return fail(
                    "--warmup-steps and --warmup-share both say how long the warmup is; give one of them",
                );
            }
            (steps, None) => Warmup::Steps(steps.unwrap_or(0).into()),
            (None, Some(share)) => Warmup::Share(below_one("--warmup-share", share)?),
        };
        let unit = match self.schedule_per.unwrap_or_default() {
            UnitName::Step => Unit::Step,
            UnitName::Epoch => Unit::Epoch,
        };
        Ok(Schedule { lr, warmup, curve: self.curve(lr)?, unit })
    }

    fn curve(&self, lr: f64) -> Result<Curve> {
        let gamma = |default: Option<f64>| match self.gamma.or(default) {
            Some(gamma) => positive("--gamma", gamma),
            None => fail("--schedule exponential needs --gamma, the factor of each step, such as 0.999"),
        };
        Ok(match self.schedule.unwrap_or_default() {
            ScheduleName::Constant => Curve::Constant,
            ScheduleName::Step => {
                let Some(step_size) = self.step_size else {
                    return fail("--schedule step needs --step-size, the number of steps between two decays");
                };
                let step_size = count("--step-size", step_size)?.into();
                Curve::Step { step_size, gamma: gamma(Some(0.1))? }
            }
            ScheduleName::MultiStep => {
                Curve::MultiStep { milestones: self.milestones()?, gamma: gamma(Some(0.1))? }
            }
            ScheduleName::Exponential => Curve::Exponential { gamma: gamma(None)? },
            ScheduleName::Cosine => Curve::Cosine { min_lr: self.min_lr(lr)? },
            ScheduleName::OneCycle => self.one_cycle()?,
            ScheduleName::Polynomial => {
                Curve::Polynomial { power: positive("--power", self.power.unwrap_or(1.0))? }
            }
            ScheduleName::WarmRestarts => {
                let Some(t_0) = self.t_0 else {
                    return fail(
                        "--schedule warm-restarts needs --t-0, the steps or epochs of the first cosine",
                    );
                };
                let t_mult = count("--t-mult", self.t_mult.unwrap_or(1))?.into();
                Curve::WarmRestarts { t_0: count("--t-0", t_0)?.into(), t_mult, min_lr: self.min_lr(lr)? }
            }
            ScheduleName::ReduceOnPlateau => Curve::Plateau(self.plateau(lr)?),
        })
    }

    fn plateau(&self, lr: f64) -> Result<Plateau> {
        Ok(Plateau {
            factor: below_one("--plateau-factor", self.plateau_factor.unwrap_or(0.1))?,
            patience: self.plateau_patience.unwrap_or(10).into(),
            threshold: below_one("--plateau-threshold", self.plateau_threshold.unwrap_or(1e-4))?,
            cooldown: self.plateau_cooldown.unwrap_or(0).into(),
            min_lr: self.min_lr(lr)?,
        })
    }

    fn min_lr(&self, lr: f64) -> Result<f64> {
        let min_lr = self.min_lr.unwrap_or(0.0);
        let allowed = format!("from 0 to --lr, which is {lr}");
        require((0.0..=lr).contains(&min_lr), "--min-lr", min_lr, allowed)?;
        Ok(min_lr)
    }

    fn one_cycle(&self) -> Result<Curve> {
        let pct_start = within_one("--pct-start", self.pct_start.unwrap_or(0.3))?;
        let div_factor = positive("--div-factor", self.div_factor.unwrap_or(25.0))?;
        require(div_factor >= 1.0, "--div-factor", div_factor, "at least 1: --lr is the highest rate")?;
        let final_div_factor = positive("--final-div-factor", self.final_div_factor.unwrap_or(1e4))?;
        let falls = div_factor * final_div_factor >= 1.0;
        let allowed = "at least 1 / --div-factor: --lr is the highest rate";
        require(falls, "--final-div-factor", final_div_factor, allowed)?;
        let anneal = match self.anneal_strategy.unwrap_or_default() {
            AnnealName::Cosine => Anneal::Cosine,
            AnnealName::Linear => Anneal::Linear,
        };
        Ok(Curve::OneCycle { pct_start, div_factor, final_div_factor, anneal })
    }

    fn milestones(&self) -> Result<Vec<u64>> {
        let milestones = self.milestones.as_deref().unwrap_or_default();
        if milestones.is_empty() {
            return fail(
                "--schedule multi-step needs --milestones, the steps of its decays, such as 1000,2000",
            );
        }
        let increasing = milestones[0] > 0 && milestones.is_sorted_by(|a, b| a < b);
        let written: Vec<String> = milestones.iter().map(u32::to_string).collect();
        require(increasing, "--milestones", written.join(","), "increasing numbers of steps, all above 0")?;
        Ok(milestones.iter().map(|&milestone| milestone.into()).collect())
    }

    /// A schedule as settings.
    pub(super) fn of(schedule: &Schedule) -> ScheduleSettings {
        let steps = |steps: u64| steps as u32;
        let mut settings = ScheduleSettings::default();
        match schedule.warmup {
            Warmup::Steps(warmup) => settings.warmup_steps = Some(steps(warmup)),
            Warmup::Share(share) => settings.warmup_share = Some(share),
        }
        settings.schedule_per = Some(match schedule.unit {
            Unit::Step => UnitName::Step,
            Unit::Epoch => UnitName::Epoch,
        });
        settings.schedule = Some(match &schedule.curve {
            Curve::Constant => ScheduleName::Constant,
            Curve::Step { step_size, gamma } => {
                (settings.step_size, settings.gamma) = (Some(steps(*step_size)), Some(*gamma));
                ScheduleName::Step
            }
            Curve::MultiStep { milestones, gamma } => {
                settings.milestones = Some(milestones.iter().copied().map(steps).collect());
                settings.gamma = Some(*gamma);
                ScheduleName::MultiStep
            }
            Curve::Exponential { gamma } => {
                settings.gamma = Some(*gamma);
                ScheduleName::Exponential
            }
            Curve::Cosine { min_lr } => {
                settings.min_lr = Some(*min_lr);
                ScheduleName::Cosine
            }
            Curve::OneCycle { pct_start, div_factor, final_div_factor, anneal } => {
                settings.warmup_steps = None;
                settings.anneal_strategy = Some(match anneal {
                    Anneal::Cosine => AnnealName::Cosine,
                    Anneal::Linear => AnnealName::Linear,
                });
                settings.pct_start = Some(*pct_start);
                settings.div_factor = Some(*div_factor);
                settings.final_div_factor = Some(*final_div_factor);
                ScheduleName::OneCycle
            }
            Curve::Polynomial { power } => {
                settings.power = Some(*power);
                ScheduleName::Polynomial
            }
            Curve::WarmRestarts { t_0, t_mult, min_lr } => {
                (settings.t_0, settings.t_mult) = (Some(steps(*t_0)), Some(steps(*t_mult)));
                settings.min_lr = Some(*min_lr);
                ScheduleName::WarmRestarts
            }
            Curve::Plateau(Plateau { factor, patience, threshold, cooldown, min_lr }) => {
                settings.schedule_per = None;
                settings.plateau_factor = Some(*factor);
                settings.plateau_patience = Some(steps(*patience));
                settings.plateau_threshold = Some(*threshold);
                settings.plateau_cooldown = Some(steps(*cooldown));
                settings.min_lr = Some(*min_lr);
                ScheduleName::ReduceOnPlateau
            }
        });
        settings
    }

    /// Each setting that only some schedules have.
    pub(super) fn dependents(&mut self, chosen: ScheduleName) -> Vec<Dependent<'_>> {
        use ScheduleName::*;
        let is = |names: &[ScheduleName]| names.contains(&chosen);
        let [of_one_cycle, of_restarts, of_plateau] =
            ["--schedule one-cycle", "--schedule warm-restarts", "--schedule reduce-on-plateau"];
        let plateau = is(&[ReduceOnPlateau]);
        let warms_up = "schedules that do not rise by themselves as one-cycle does";
        let dependents: [(_, &mut dyn Setting, _, _); 18] = [
            ("--warmup-steps", &mut self.warmup_steps, !is(&[OneCycle]), warms_up),
            ("--warmup-share", &mut self.warmup_share, !is(&[OneCycle]), warms_up),
            (
                "--schedule-per",
                &mut self.schedule_per,
                !plateau,
                "schedules that count; reduce-on-plateau looks at each epoch's test loss",
            ),
            (
                "--min-lr",
                &mut self.min_lr,
                is(&[Cosine, WarmRestarts, ReduceOnPlateau]),
                "--schedule cosine, warm-restarts or reduce-on-plateau",
            ),
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
            ("--anneal-strategy", &mut self.anneal_strategy, is(&[OneCycle]), of_one_cycle),
            ("--power", &mut self.power, is(&[Polynomial]), "--schedule polynomial"),
            ("--t-0", &mut self.t_0, is(&[WarmRestarts]), of_restarts),
            ("--t-mult", &mut self.t_mult, is(&[WarmRestarts]), of_restarts),
            ("--plateau-factor", &mut self.plateau_factor, plateau, of_plateau),
            ("--plateau-patience", &mut self.plateau_patience, plateau, of_plateau),
            ("--plateau-threshold", &mut self.plateau_threshold, plateau, of_plateau),
            ("--plateau-cooldown", &mut self.plateau_cooldown, plateau, of_plateau),
        ];
        with_choice(dependents, chosen.name())
    }
}

/// Fails if the schedule does not fit into a run of so many steps.
pub(super) fn check_schedule(schedule: &Schedule, run: RunLength) -> Result<()> {
    let total = run.steps;
    check_warmup(schedule, total)?;
    let last = schedule.learning_rate(total.saturating_sub(1), run);
    if !(last as f32).is_finite() {
        return Err(Error::Recipe(format!(
            "the learning rate would grow to {last:e} in {total} steps; use a smaller --gamma"
        )));
    }
    Ok(())
}

/// Fails if the warmup is all of the run.
pub(super) fn check_warmup(schedule: &Schedule, total: u64) -> Result<()> {
    let warmup = schedule.warmup.steps(total);
    if warmup > 0 && warmup >= total {
        return Err(Error::Recipe(format!(
            "--warmup-steps is {warmup}, but the run has {total} steps; it must be less"
        )));
    }
    Ok(())
}
