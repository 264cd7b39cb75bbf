use crate::train::Evaluation;
use crate::train::recipe::names;

names! { "metric",
/// The metric of the test split by which evaluations are compared; its name is that in `metrics.jsonl`.
pub enum Monitor {
    /// Share of correct predictions: top-1.
    #[default]
    TestAccuracy = "test_accuracy",
    /// Share of samples whose class is among the five most probable.
    TestTop5Accuracy = "test_top5_accuracy",
    /// Mean cross-entropy.
    TestLoss = "test_loss",
    /// Mean F1 over the classes.
    TestMacroF1 = "test_macro_f1",
    /// Expected calibration error.
    TestEce = "test_ece",
    /// Share of correct predictions with the running averages of the weights.
    EmaTestAccuracy = "ema_test_accuracy",
    /// Mean cross-entropy with the running averages of the weights.
    EmaTestLoss = "ema_test_loss",
}
}

impl Monitor {
    /// Whether it is of the running averages of the weights.
    pub fn is_of_averages(self) -> bool {
        matches!(self, Monitor::EmaTestAccuracy | Monitor::EmaTestLoss)
    }

    /// Its value in an evaluation, of the weights or of the averages.
    pub fn value(self, evaluation: &Evaluation) -> f64 {
        match self {
            Monitor::TestAccuracy | Monitor::EmaTestAccuracy => evaluation.accuracy,
            Monitor::TestTop5Accuracy => evaluation.top5_accuracy,
            Monitor::TestLoss | Monitor::EmaTestLoss => evaluation.loss,
            Monitor::TestMacroF1 => evaluation.macro_f1(),
            Monitor::TestEce => evaluation.ece,
        }
    }

    /// Whether `value` is better than `other` by more than `min_delta`. What is not a number is better than nothing,
    /// and everything that is a number is better than it.
    pub fn is_better(self, value: f64, other: f64, min_delta: f64) -> bool {
        let gain = match self {
            Monitor::TestLoss | Monitor::EmaTestLoss | Monitor::TestEce => other - value,
            Monitor::TestAccuracy
            | Monitor::EmaTestAccuracy
            | Monitor::TestTop5Accuracy
            | Monitor::TestMacroF1 => value - other,
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
