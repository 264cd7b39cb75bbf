//! `torch.nn.functional.binary_cross_entropy_with_logits`: the log-likelihood of independent yes-or-no targets.

use super::shared::pointwise_loss::{LossFunction, PointwiseLoss, samples};
use super::shared::unary::sigmoid;
use super::{Draw, Operator};
use crate::graph::Real;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "bce_with_logits",
    summary: "binary cross entropy (torch.nn.functional.binary_cross_entropy_with_logits)",
    shader: shader!("bce_with_logits", SPECIAL, REDUCE, POINTWISE_LOSS),
    layer: None,
    samples: || samples(BinaryCrossEntropy, Draw::Positive),
};

/// The operator: `(logits, target[, pos_weight]) -> loss`; the weight is `[C]`, one number per column of the last
/// dimension, or `[1]`.
pub type BceWithLogits = PointwiseLoss<BinaryCrossEntropy>;

/// w t softplus(-x) + (1 - t) softplus(x)
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BinaryCrossEntropy;

/// log(1 + exp(x)) without overflow: max(x, 0) + log(1 + exp(-|x|))
fn softplus<T: Real>(x: T) -> T {
    let positive = if x > T::zero() { x } else { T::zero() };
    positive + (-x.abs()).exp().ln_1p()
}

impl LossFunction for BinaryCrossEntropy {
    const NAME: &'static str = "bce_with_logits";
    const WEIGHT: Option<&'static str> = Some("pos_weight");

    fn value<T: Real>(&self, x: T, t: T, weight: T) -> T {
        weight * t * softplus(-x) + (T::one() - t) * softplus(x)
    }

    fn derivative<T: Real>(&self, x: T, t: T, weight: T) -> T {
        (T::one() - t) * sigmoid(x) - weight * t * sigmoid(-x)
    }

    fn target_derivative<T: Real>(&self, x: T, _: T, weight: T) -> T {
        weight * softplus(-x) - softplus(x)
    }
}
