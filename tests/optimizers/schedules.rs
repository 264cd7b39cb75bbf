//! Learning rates against PyTorch's schedulers; `scripts/golden_schedules.py` says what the goldens hold.

use serde::Deserialize;
use wgrad::optim::{Curve, Schedule};

/// One entry of `schedules.json`.
#[derive(Debug, Deserialize)]
struct ScheduleCase {
    schedule: String,
    args: ScheduleArgs,
    lr: f64,
    total_steps: u64,
    warmup_steps: u64,
    min_lr: f64,
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
            },
            other => panic!("a golden has the schedule {other}"),
        };
        Schedule { lr: self.lr, warmup_steps: self.warmup_steps, curve }
    }
}

#[test]
fn learning_rates_follow_pytorch() {
    let text = std::fs::read_to_string(crate::golden("schedules.json")).unwrap();
    let cases: Vec<ScheduleCase> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 19);
    for case in &cases {
        let schedule = case.schedule();
        assert_eq!(case.want.len() as u64, case.total_steps);
        for (step, want) in (0..).zip(&case.want) {
            let got = schedule.learning_rate(step, case.total_steps);
            // PyTorch multiplies step after step: its own rounding adds up.
            let bound = 1e-12 * case.lr + 1e-9 * want.abs();
            assert!((got - want).abs() <= bound, "{schedule:?} step {step}: {got}, PyTorch {want}");
        }
    }
}
