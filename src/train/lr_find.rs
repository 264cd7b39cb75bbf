//! The learning-rate range test (Smith, 2017): losses of steps whose rate rises exponentially, and what they suggest.

use serde::Serialize;

/// How much of the smoothed loss is kept at each step.
const KEPT: f64 = 0.9;
/// A smoothed loss so many times the least has left the range that matters.
const DIVERGED: f64 = 4.0;

/// A step of the test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Its learning rate.
    pub lr: f64,
    /// Its loss.
    pub loss: f64,
    /// The running average of the losses so far.
    pub smoothed: f64,
}

/// The steps of a test, up to where the loss diverges.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LrFinding {
    /// In order.
    pub points: Vec<Point>,
    /// Where the smoothed loss falls fastest; nothing if it never falls.
    pub suggestion: Option<f64>,
    /// Where it is least.
    pub lowest: Option<f64>,
    /// Whether the test ended because the loss diverged.
    pub diverged: bool,
}

/// Takes losses one by one.
#[derive(Clone, Debug)]
pub struct LrFinder {
    from: f64,
    gamma: f64,
    average: f64,
    best: f64,
    finding: LrFinding,
}

impl LrFinder {
    /// A test whose rates rise from `from` by the factor `gamma` a step.
    pub fn new(from: f64, gamma: f64) -> LrFinder {
        LrFinder { from, gamma, average: 0.0, best: f64::INFINITY, finding: LrFinding::default() }
    }

    /// Takes the next step's loss; false once the test is over.
    pub fn add(&mut self, loss: f64) -> bool {
        if self.finding.diverged {
            return false;
        }
        let done = self.finding.points.len() as i32;
        self.average = KEPT * self.average + (1.0 - KEPT) * loss;
        let smoothed = self.average / (1.0 - KEPT.powi(done + 1));
        if !smoothed.is_finite() || smoothed > DIVERGED * self.best {
            self.finding.diverged = true;
            return false;
        }
        self.best = if smoothed < self.best { smoothed } else { self.best };
        let lr = self.from * self.gamma.powi(done);
        self.finding.points.push(Point { lr, loss, smoothed });
        true
    }

    /// What was found; `diverged` if the run stopped because a loss was not finite.
    pub fn finish(mut self, diverged: bool) -> LrFinding {
        let points = &self.finding.points;
        let steepest = points.windows(2).map(|pair| (pair[1].smoothed - pair[0].smoothed, pair[1].lr));
        let least = |a: (f64, f64), b: (f64, f64)| if b.0 < a.0 { b } else { a };
        let falling = steepest.reduce(least).filter(|(change, _)| *change < 0.0);
        self.finding.suggestion = falling.map(|(_, lr)| lr);
        self.finding.lowest =
            points.iter().map(|point| (point.smoothed, point.lr)).reduce(least).map(|(_, lr)| lr);
        self.finding.diverged |= diverged;
        self.finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steepest_fall_is_suggested_and_divergence_ends_the_test() {
        let mut finder = LrFinder::new(1e-4, 10.0_f64.sqrt());
        let losses = [2.3, 2.3, 2.3, 2.2, 1.2, 0.9, 0.9, 3.0, 60.0, 1.0];
        let taken = losses.iter().take_while(|loss| finder.add(**loss)).count();
        assert_eq!(taken, 8);
        let finding = finder.finish(false);
        assert!(finding.diverged);
        assert_eq!(finding.points.len(), 8);
        assert!((finding.suggestion.unwrap() - 1e-2).abs() < 1e-12, "{finding:?}");
        assert!((finding.lowest.unwrap() - 1e-1).abs() < 1e-12, "{finding:?}");
    }

    #[test]
    fn a_loss_that_never_falls_suggests_nothing() {
        let mut finder = LrFinder::new(1e-4, 2.0);
        assert!([1.0, 1.1, 1.2].iter().all(|loss| finder.add(*loss)));
        let finding = finder.finish(true);
        assert_eq!((finding.suggestion, finding.lowest), (None, Some(1e-4)));
        assert!(finding.diverged);
        assert_eq!(LrFinder::new(1.0, 2.0).finish(false), LrFinding::default());
    }
}
