use serde::{Deserialize, Serialize};

use super::Monitor;

/// What the evaluations of a run came to; part of a checkpoint, so that a resumed run stops when, and keeps what, the
/// uninterrupted one would have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The best evaluation so far.
    pub best: Option<Score>,
    /// Evaluations since then.
    pub since_best: u32,
    /// The steps whose checkpoints are kept, in order.
    pub kept: Vec<Score>,
}

/// An evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Steps done.
    pub step: u64,
    /// The monitored metric's value, as the bits of f64: what is not a number has no JSON.
    bits: u64,
}

/// How evaluations are compared, and how many checkpoints are kept for them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// The metric.
    pub monitor: Monitor,
    /// By how much the metric must become better to count as an improvement.
    pub min_delta: f64,
    /// Checkpoints of the best evaluations that are kept.
    pub keep_best: usize,
    /// Checkpoints of the last evaluations that are kept.
    pub keep_last: usize,
}

impl Score {
    /// The monitored metric after `step` steps.
    pub fn new(step: u64, value: f64) -> Score {
        Score { step, bits: value.to_bits() }
    }

    /// The metric's value.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }
}

impl History {
    /// Takes in an evaluation.
    pub fn record(&mut self, score: Score, rule: &Rule) {
        let improves =
            self.best.is_none_or(|best| rule.monitor.is_better(score.value(), best.value(), rule.min_delta));
        if improves {
            (self.best, self.since_best) = (Some(score), 0);
        } else {
            self.since_best += 1;
        }
        // A step that ends an epoch may be one that is evaluated anyway.
        self.kept.retain(|kept| kept.step != score.step);
        self.kept.push(score);
        let last = self.kept.len().saturating_sub(rule.keep_last);
        let ranks: Vec<usize> = self.kept.iter().map(|kept| self.rank(kept, rule.monitor)).collect();
        let mut places = ranks.iter().enumerate();
        self.kept
            .retain(|_| places.next().is_some_and(|(place, &rank)| place >= last || rank < rule.keep_best));
    }

    /// How many kept evaluations are better, or as good and earlier.
    fn rank(&self, score: &Score, monitor: Monitor) -> usize {
        let before = |other: &&Score| {
            let worse = monitor.is_better(score.value(), other.value(), 0.0);
            let better = monitor.is_better(other.value(), score.value(), 0.0);
            better || !worse && other.step < score.step
        };
        self.kept.iter().filter(before).count()
    }

    /// The kept evaluation that is best by the metric.
    pub fn best_kept(&self, monitor: Monitor) -> Option<&Score> {
        self.kept.iter().min_by_key(|kept| self.rank(kept, monitor))
    }

    /// Whether so many evaluations in a row were no improvement.
    pub fn is_exhausted(&self, patience: Option<u32>) -> bool {
        patience.is_some_and(|patience| self.since_best >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rule: &Rule, values: &[f64]) -> History {
        let mut history = History::default();
        for (index, value) in values.iter().enumerate() {
            history.record(Score::new(10 * (index as u64 + 1), *value), rule);
        }
        history
    }

    fn steps(history: &History) -> Vec<u64> {
        history.kept.iter().map(|kept| kept.step).collect()
    }

    #[test]
    fn the_best_and_the_last_are_kept() {
        let rule = Rule { keep_best: 2, keep_last: 1, ..Rule::default() };
        let history = run(&rule, &[0.5, 0.9, 0.7, 0.9, 0.1, 0.2]);
        assert_eq!(steps(&history), [20, 40, 60]);
        assert_eq!(history.best.unwrap().step, 20);
        assert_eq!(history.best_kept(Monitor::TestAccuracy).unwrap().step, 20);
        assert_eq!(history.since_best, 4);
        let lowest = Rule { monitor: Monitor::TestLoss, ..rule };
        assert_eq!(steps(&run(&lowest, &[0.5, 0.9, 0.7, f64::NAN, 0.1, 0.2])), [50, 60]);
        assert_eq!(steps(&run(&Rule::default(), &[0.5, 0.9])), Vec::<u64>::new());
    }

    #[test]
    fn patience_counts_from_the_last_improvement() {
        let rule = Rule { min_delta: 0.05, ..Rule::default() };
        let history = run(&rule, &[0.5, 0.6, 0.62, 0.64]);
        assert!(
            history.is_exhausted(Some(2)) && !history.is_exhausted(Some(3)) && !history.is_exhausted(None)
        );
        assert!(!run(&rule, &[0.5, 0.6, 0.62, 0.66]).is_exhausted(Some(1)));
    }

    #[test]
    fn numbers_are_kept_before_what_is_none() {
        let rule = Rule { keep_best: 1, ..Rule::default() };
        let history = run(&rule, &[f64::NAN, 0.3, f64::NAN]);
        assert_eq!(steps(&history), [20]);
        let text = serde_json::to_string(&run(&rule, &[f64::NAN])).unwrap();
        assert!(serde_json::from_str::<History>(&text).unwrap().best.unwrap().value().is_nan());
    }
}
