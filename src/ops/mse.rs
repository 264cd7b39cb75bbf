//! `torch.nn.functional.mse_loss`: the squared difference of input and target.

use super::shared::pointwise_loss::{LossFunction, PointwiseLoss, samples};
use super::{Draw, Operator};
use crate::graph::Real;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "mse",
    summary: "squared difference (torch.nn.functional.mse_loss)",
    shader: shader!("mse", REDUCE, POINTWISE_LOSS),
    layer: None,
    samples: || samples(SquaredDifference, Draw::Normal),
};

/// The operator: `(input, target) -> loss`.
pub type Mse = PointwiseLoss<SquaredDifference>;

/// (x - t)^2
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SquaredDifference;

impl LossFunction for SquaredDifference {
    const NAME: &'static str = "mse";

    fn value<T: Real>(&self, x: T, t: T, _: T) -> T {
        (x - t) * (x - t)
    }

    fn derivative<T: Real>(&self, x: T, t: T, _: T) -> T {
        (x - t) + (x - t)
    }

    fn target_derivative<T: Real>(&self, x: T, t: T, _: T) -> T {
        (t - x) + (t - x)
    }
}
