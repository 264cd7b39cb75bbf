//! Learning rates over a run, equal to `torch.optim.lr_scheduler`'s step by step.

use std::f64::consts::PI;

use super::Plateau;

/// The learning rate of every step of a run: a linear warmup, then a [`Curve`].
///
/// The curve counts steps (optimizer updates) or epochs, as `unit` says, and spans the whole run: a cosine reaches its
/// end with the last step, or epoch. Momentum is never cycled.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The learning rate: where the curve starts, or a one-cycle's maximum.
    pub lr: f64,
    /// The warmup: step `t` of its `n` has the rate `lr (t + 1) / n`. The curve starts after them, with its own count of
    /// steps, and has the rest of the run (`SequentialLR` of a `LinearLR` and the curve).
    pub warmup: Warmup,
    /// The shape of the rest of the run.
    pub curve: Curve,
    /// What the curve counts.
    pub unit: Unit,
}

/// How long a warmup is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Warmup {
    /// So many steps.
    Steps(u64),
    /// This share of the run, in 0..1.
    Share(f64),
}

impl Warmup {
    /// No warmup.
    pub const NONE: Warmup = Warmup::Steps(0);

    /// Its steps in a run of so many.
    pub fn steps(self, run: u64) -> u64 {
        match self {
            Warmup::Steps(steps) => steps,
            Warmup::Share(share) => (share * run as f64) as u64,
        }
    }
}

/// What a curve counts: how often the learning rate changes after the warmup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Optimizer updates.
    #[default]
    Step,
    /// Passes over the training samples.
    Epoch,
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLength {
    /// Steps of the whole run.
    pub steps: u64,
    /// Steps of an epoch, at least 1.
    pub steps_per_epoch: u64,
}

/// How the learning rate changes after the warmup.
#[derive(Clone, Debug, PartialEq)]
pub enum Curve {
    /// Always the same.
    Constant,
    /// `StepLR`: times `gamma` after every `step_size` of them.
    Step {
        /// Steps or epochs between two decays, at least 1.
        step_size: u64,
        /// Factor of one decay.
        gamma: f64,
    },
    /// `MultiStepLR`: times `gamma` at each milestone.
    MultiStep {
        /// Steps or epochs done before each decay, increasing.
        milestones: Vec<u64>,
        /// Factor of one decay.
        gamma: f64,
    },
    /// `ExponentialLR`: times `gamma` after every step or epoch.
    Exponential {
        /// Factor of one step.
        gamma: f64,
    },
    /// `PolynomialLR` over the run: from `lr` to 0.
    Polynomial {
        /// The exponent; 1 is a straight line.
        power: f64,
    },
    /// `CosineAnnealingWarmRestarts`: half cosines from `lr` to `min_lr`, each followed by the next from the top.
    WarmRestarts {
        /// Length of the first (`T_0`), at least 1.
        t_0: u64,
        /// How many times as long each is as the one before (`T_mult`), at least 1.
        t_mult: u64,
        /// The rate that the last step of each approaches (`eta_min`).
        min_lr: f64,
    },
    /// `ReduceLROnPlateau`: reduced when the test loss no longer falls ([`Plateau::step`] after each epoch).
    Plateau(Plateau),
    /// `CosineAnnealingLR` with `T_max` the run's length: half a cosine from `lr` to `min_lr`.
    Cosine {
        /// The rate that the last step approaches (`eta_min`).
        min_lr: f64,
    },
    /// `OneCycleLR` with two phases and `cycle_momentum=False`: from `lr / div_factor` up to `lr`, then down to
    /// `lr / div_factor / final_div_factor`.
    OneCycle {
        /// Part of the run in which the rate rises, in 0..=1.
        pct_start: f64,
        /// `lr` over the first rate.
        div_factor: f64,
        /// The first rate over the last.
        final_div_factor: f64,
        /// The way up and down (`anneal_strategy`).
        anneal: Anneal,
    },
}

/// How a rate goes from one value to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anneal {
    /// Along half a cosine.
    #[default]
    Cosine,
    /// Along a straight line.
    Linear,
}

impl Anneal {
    /// From `start` to `end`, `done` in 0..=1.
    fn between(self, start: f64, end: f64, done: f64) -> f64 {
        match self {
            Anneal::Cosine => end + (start - end) * (1.0 + (PI * done).cos()) / 2.0,
            Anneal::Linear => start + (end - start) * done,
        }
    }
}

impl Schedule {
    /// The learning rate of the step that comes after `step` others. A plateau's is where it starts, until
    /// [`PlateauState`](super::PlateauState) says another.
    pub fn learning_rate(&self, step: u64, run: RunLength) -> f64 {
        let warmup = self.warmup.steps(run.steps);
        if step < warmup {
            return self.lr * ((step + 1) as f64 / warmup as f64);
        }
        let (step, total) = (step - warmup, run.steps.saturating_sub(warmup));
        let unit = match self.unit {
            Unit::Step => 1,
            Unit::Epoch => run.steps_per_epoch.max(1),
        };
        self.curve.rate(self.lr, step / unit, total.div_ceil(unit))
    }
}

impl Schedule {
    /// The settings of a schedule that looks at the losses.
    pub fn plateau(&self) -> Option<&Plateau> {
        match &self.curve {
            Curve::Plateau(plateau) => Some(plateau),
            _ => None,
        }
    }
}

impl Curve {
    fn rate(&self, lr: f64, step: u64, total_steps: u64) -> f64 {
        match self {
            Curve::Constant | Curve::Plateau(_) => lr,
            Curve::Step { step_size, gamma } => lr * power(*gamma, step / step_size),
            Curve::MultiStep { milestones, gamma } => {
                let passed = milestones.iter().filter(|&&milestone| milestone <= step).count();
                lr * power(*gamma, passed as u64)
            }
            Curve::Exponential { gamma } => lr * power(*gamma, step),
            Curve::Polynomial { power } => lr * (1.0 - part(step as f64, total_steps as f64)).powf(*power),
            Curve::WarmRestarts { t_0, t_mult, min_lr } => {
                let (mut into, mut len) = (step, *t_0);
                if *t_mult == 1 {
                    into %= len;
                }
                while into >= len {
                    into -= len;
                    len = len.saturating_mul(*t_mult);
                }
                Anneal::Cosine.between(lr, *min_lr, into as f64 / len as f64)
            }
            Curve::Cosine { min_lr } => {
                Anneal::Cosine.between(lr, *min_lr, step as f64 / total_steps.max(1) as f64)
            }
            Curve::OneCycle { pct_start, div_factor, final_div_factor, anneal } => {
                let first = lr / div_factor;
                let last = first / final_div_factor;
                // Both ends are where PyTorch puts them, though the top then may lie between two steps.
                let (step, top) = (step as f64, pct_start * total_steps as f64 - 1.0);
                if step <= top {
                    anneal.between(first, lr, part(step, top))
                } else {
                    let end = total_steps as f64 - 1.0;
                    anneal.between(lr, last, part(step - top, end - top))
                }
            }
        }
    }
}

fn power(gamma: f64, exponent: u64) -> f64 {
    gamma.powf(exponent as f64)
}

/// `step / len`; a phase of no length is over. (PyTorch divides by zero there.)
fn part(step: f64, len: f64) -> f64 {
    if len > 0.0 { step / len } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(steps: u64) -> RunLength {
        RunLength { steps, steps_per_epoch: 1 }
    }

    fn one_cycle(pct_start: f64) -> Schedule {
        let anneal = Anneal::Cosine;
        let curve = Curve::OneCycle { pct_start, div_factor: 25.0, final_div_factor: 1e4, anneal };
        Schedule { lr: 0.1, warmup: Warmup::NONE, curve, unit: Unit::Step }
    }

    #[test]
    fn runs_too_short_for_a_phase_have_finite_rates() {
        for pct_start in [0.0, 0.1, 0.5, 1.0] {
            let schedule = one_cycle(pct_start);
            for total in 1..=12 {
                for step in 0..total {
                    let rate = schedule.learning_rate(step, of(total));
                    assert!((0.0..=0.1 + 1e-12).contains(&rate), "{pct_start} {step}/{total}: {rate}");
                }
            }
        }
        let schedule = Schedule {
            lr: 0.1,
            warmup: Warmup::Steps(3),
            curve: Curve::Cosine { min_lr: 0.0 },
            unit: Unit::Step,
        };
        assert_eq!(schedule.learning_rate(3, of(3)), 0.1);
    }

    #[test]
    fn a_share_of_the_run_is_rounded_down() {
        let steps = |run| Warmup::Share(0.3).steps(run);
        assert_eq!([1, 3, 4, 10, 440].map(steps), [0, 0, 1, 3, 132]);
    }

    #[test]
    fn a_rise_over_the_whole_run_ends_at_the_top() {
        let schedule = one_cycle(1.0);
        assert!((schedule.learning_rate(0, of(10)) - 0.1 / 25.0).abs() < 1e-15);
        assert!((schedule.learning_rate(9, of(10)) - 0.1).abs() < 1e-15);
    }
}
