//! `torch.nn.functional.smooth_l1_loss`: a parabola for small differences of input and target, straight beyond.

use super::shared::pointwise_loss::{LossFunction, PointwiseLoss, samples};
use super::{Draw, Operator, Reduction, Sample};
use crate::graph::Real;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "smooth_l1",
    summary: "squared below beta, absolute above (torch.nn.functional.smooth_l1_loss)",
    shader: shader!("smooth_l1", REDUCE, POINTWISE_LOSS),
    layer: None,
    samples: all_samples,
};

/// The operator: `(input, target) -> loss`.
pub type SmoothL1 = PointwiseLoss<SmoothAbsolute>;

/// d^2 / (2 beta) where |d| < beta, else |d| - beta / 2; d = x - t
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothAbsolute {
    /// Where the parabola ends; at least 0.
    pub beta: f32,
}

impl Default for SmoothAbsolute {
    fn default() -> SmoothAbsolute {
        SmoothAbsolute { beta: 1.0 }
    }
}

impl SmoothL1 {
    /// The mean, with a parabola up to `beta`.
    pub fn new(beta: f32) -> SmoothL1 {
        PointwiseLoss { function: SmoothAbsolute { beta }, reduction: Reduction::Mean }
    }
}

impl LossFunction for SmoothAbsolute {
    const NAME: &'static str = "smooth_l1";

    fn beta(&self) -> f32 {
        self.beta
    }

    fn value<T: Real>(&self, x: T, t: T, _: T) -> T {
        let (beta, half) = (T::of(f64::from(self.beta)), T::of(0.5));
        let d = (x - t).abs();
        if d < beta { half * d * d / beta } else { d - half * beta }
    }

    fn derivative<T: Real>(&self, x: T, t: T, _: T) -> T {
        let beta = T::of(f64::from(self.beta));
        let d = x - t;
        if d == T::zero() {
            T::zero() // also with beta = 0
        } else if d >= beta {
            T::one()
        } else if d <= -beta {
            -T::one()
        } else {
            d / beta
        }
    }

    fn target_derivative<T: Real>(&self, x: T, t: T, weight: T) -> T {
        self.derivative(t, x, weight)
    }
}

fn all_samples() -> Vec<Sample> {
    let mut all = samples(SmoothAbsolute::default(), Draw::Normal);
    for (id, beta) in [("small-beta", 0.25), ("beta-0", 0.0)] {
        let inputs = vec![(vec![5, 7], Draw::Distinct), (vec![5, 7], Draw::Normal)];
        let build = move |graph: &mut crate::graph::Graph, values: &[_]| graph.apply(SmoothL1::new(beta), values);
        all.push(Sample::new(format!("smooth_l1/{id}"), inputs, build));
    }
    all
}
