//! Learning rates against PyTorch's schedulers; `scripts/golden_schedules.py` says what the goldens hold.

use serde::Deserialize;
use wgrad::optim::{Anneal, Curve, Plateau, PlateauState, RunLength, Schedule, Unit, Warmup};

/// One entry of `schedules.json`.
#[derive(Debug, Deserialize)]
struct ScheduleCase {
    schedule: String,
    args: ScheduleArgs,
    lr: f64,
    total_steps: u64,
    warmup_steps: u64,
    min_lr: f64,
    steps_per_epoch: u64,
    losses: Option<Vec<f64>>,
    want: Vec<f64>,
}

/// PyTorch's arguments.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ScheduleArgs {
    step_size: u64,
    gamma: f64,
    milestones: Vec<u64>,
    pct_start: Option<f64>,
    div_factor: Option<f64>,
    final_div_factor: Option<f64>,
    anneal_strategy: Option<String>,
    power: Option<f64>,
    #[serde(rename = "T_0")]
    t_0: u64,
    #[serde(rename = "T_mult")]
    t_mult: Option<u64>,
    factor: Option<f64>,
    patience: u64,
    threshold: Option<f64>,
    cooldown: u64,
}

impl ScheduleCase {
    fn schedule(&self) -> Schedule {
        let ScheduleArgs { step_size, gamma, .. } = self.args;
        let curve = match self.schedule.as_str() {
            "constant" => Curve::Constant,
            "step" => Curve::Step { step_size, gamma },
            "multi_step" => Curve::MultiStep { milestones: self.args.milestones.clone(), gamma },
            "exponential" => Curve::Exponential { gamma },
            "cosine" => Curve::Cosine { min_lr: self.min_lr },
            "one_cycle" => Curve::OneCycle {
                pct_start: self.args.pct_start.unwrap_or(0.3),
                div_factor: self.args.div_factor.unwrap_or(25.0),
                final_div_factor: self.args.final_div_factor.unwrap_or(1e4),
                anneal: match self.args.anneal_strategy.as_deref() {
                    Some("linear") => Anneal::Linear,
                    _ => Anneal::Cosine,
                },
            },
            "polynomial" => Curve::Polynomial { power: self.args.power.unwrap_or(1.0) },
            "warm_restarts" => {
                let t_mult = self.args.t_mult.unwrap_or(1);
                Curve::WarmRestarts { t_0: self.args.t_0, t_mult, min_lr: self.min_lr }
            }
            "plateau" => Curve::Plateau(Plateau {
                factor: self.args.factor.unwrap_or(0.1),
                patience: self.args.patience,
                threshold: self.args.threshold.unwrap_or(1e-4),
                cooldown: self.args.cooldown,
                min_lr: self.min_lr,
            }),
            other => panic!("a golden has the schedule {other}"),
        };
        let unit = if self.steps_per_epoch == 1 { Unit::Step } else { Unit::Epoch };
        Schedule { lr: self.lr, warmup: Warmup::Steps(self.warmup_steps), curve, unit }
    }

    /// The rate of every step.
    fn rates(&self) -> Vec<f64> {
        let schedule = self.schedule();
        if let (Some(plateau), Some(losses)) = (schedule.plateau(), &self.losses) {
            let states = losses.iter().scan(PlateauState::new(self.lr), |state, loss| {
                let rate = state.learning_rate();
                *state = plateau.step(*state, *loss);
                Some(rate)
            });
            return states.collect();
        }
        let run = RunLength { steps: self.total_steps, steps_per_epoch: self.steps_per_epoch };
        (0..self.total_steps).map(|step| schedule.learning_rate(step, run)).collect()
    }
}

#[test]
fn learning_rates_follow_pytorch() {
    let text = std::fs::read_to_string(crate::golden("schedules.json")).unwrap();
    let cases: Vec<ScheduleCase> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 36);
    for case in &cases {
        assert_eq!(case.want.len() as u64, case.total_steps);
        for (step, (want, got)) in case.want.iter().zip(case.rates()).enumerate() {
            // PyTorch multiplies step after step: its own rounding adds up.
            let bound = 1e-12 * case.lr + 1e-9 * want.abs();
            assert!((got - want).abs() <= bound, "{case:?} step {step}: {got}, PyTorch {want}");
        }
    }
}
