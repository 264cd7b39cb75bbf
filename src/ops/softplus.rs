//! `torch.nn.Softplus`: y = log(1 + exp(beta x)) / beta, and y = x where beta x > threshold.

use serde::{Deserialize, Serialize};

use super::shared::unary::{self, Activation, build, sample, sigmoid};
use super::{Layer, Operator, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Real, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "softplus",
    summary: "log(1 + exp(beta x)) / beta (torch.nn.Softplus)",
    shader: shader!("softplus", UNARY, SPECIAL),
    layer: Some(parse_layer::<Softplus>),
    samples,
};

/// The layer; arguments and defaults are those of `torch.nn.Softplus`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Softplus {
    /// Sharpness of the bend.
    pub beta: f32,
    /// Where beta x exceeds this, the output is x itself.
    pub threshold: f32,
}

impl Default for Softplus {
    fn default() -> Softplus {
        Softplus { beta: 1.0, threshold: 20.0 }
    }
}

impl Activation for Softplus {
    const NAME: &'static str = "softplus";

    fn arguments(&self) -> [f32; 2] {
        [self.beta, self.threshold]
    }

    /// As max(z, 0) + log(1 + exp(-|z|)), which cannot overflow.
    fn value<T: Real>(&self, x: T) -> T {
        let beta = T::of(self.beta.into());
        let z = beta * x;
        if z > T::of(self.threshold.into()) {
            return x;
        }
        let positive = if z > T::zero() { z } else { T::zero() };
        (positive + (-z.abs()).exp().ln_1p()) / beta
    }

    fn derivative<T: Real>(&self, x: T) -> T {
        let z = T::of(self.beta.into()) * x;
        if z > T::of(self.threshold.into()) { T::one() } else { sigmoid(z) }
    }
}

impl Layer for Softplus {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}

fn samples() -> Vec<Sample> {
    let sharp = Softplus { beta: 2.0, threshold: 2.0 };
    [unary::samples(Softplus::default()), vec![sample("arguments", &[2, 3, 5, 3], sharp)]].concat()
}
