//! `torch.nn.ReLU`: y = max(x, 0), where a NaN passes.

use serde::{Deserialize, Serialize};

use super::shared::unary::{Activation, build, samples};
use super::{Layer, Operator, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Real, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "relu",
    summary: "max(x, 0) (torch.nn.ReLU)",
    shader: shader!("relu", UNARY),
    layer: Some(parse_layer::<Relu>),
    samples: || samples(Relu {}),
};

/// The layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relu {}

impl Activation for Relu {
    const NAME: &'static str = "relu";

    fn value<T: Real>(&self, x: T) -> T {
        if x <= T::zero() { T::zero() } else { x }
    }

    fn derivative<T: Real>(&self, x: T) -> T {
        if x <= T::zero() { T::zero() } else { T::one() }
    }
}

impl Layer for Relu {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}
