use serde::{Deserialize, Serialize};

use crate::train::Evaluation;

/// The metric of the test split by which evaluations are compared; its name is that in `metrics.jsonl`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    /// Share of correct predictions: top-1.
    #[default]
    TestAccuracy,
    /// Share of samples whose class is among the five most probable.
    TestTop5Accuracy,
    /// Mean cross-entropy.
    TestLoss,
    /// Mean F1 over the classes.
    TestMacroF1,
    /// Expected calibration error.
    TestEce,
}

impl Monitor {
    /// All of them.
    pub const ALL: [Monitor; 5] = [
        Monitor::TestAccuracy,
        Monitor::TestTop5Accuracy,
        Monitor::TestLoss,
        Monitor::TestMacroF1,
        Monitor::TestEce,
    ];

    /// As flags, recipes and metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Monitor::TestAccuracy => "test_accuracy",
            Monitor::TestTop5Accuracy => "test_top5_accuracy",
            Monitor::TestLoss => "test_loss",
            Monitor::TestMacroF1 => "test_macro_f1",
            Monitor::TestEce => "test_ece",
        }
    }

    /// Its value in an evaluation.
    pub fn value(self, evaluation: &Evaluation) -> f64 {
        match self {
            Monitor::TestAccuracy => evaluation.accuracy,
            Monitor::TestTop5Accuracy => evaluation.top5_accuracy,
            Monitor::TestLoss => evaluation.loss,
            Monitor::TestMacroF1 => evaluation.macro_f1(),
            Monitor::TestEce => evaluation.ece,
        }
    }

    /// Whether `value` is better than `other` by more than `min_delta`. What is not a number is better than nothing,
    /// and everything that is a number is better than it.
    pub fn is_better(self, value: f64, other: f64, min_delta: f64) -> bool {
        let gain = match self {
            Monitor::TestLoss | Monitor::TestEce => other - value,
            Monitor::TestAccuracy | Monitor::TestTop5Accuracy | Monitor::TestMacroF1 => value - other,
        };
        gain > min_delta || other.is_nan() && !value.is_nan()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_fall_and_accuracies_rise() {
        assert!(Monitor::TestLoss.is_better(0.1, 0.2, 0.0));
        assert!(!Monitor::TestLoss.is_better(0.1, 0.2, 0.15));
        assert!(Monitor::TestAccuracy.is_better(0.9, 0.8, 0.0));
        assert!(!Monitor::TestAccuracy.is_better(0.9, 0.9, 0.0));
        assert!(Monitor::TestLoss.is_better(9.0, f64::NAN, 1.0));
        assert!(!Monitor::TestLoss.is_better(f64::NAN, 9.0, 0.0));
    }
}
