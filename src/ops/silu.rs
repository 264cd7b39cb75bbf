//! `torch.nn.SiLU` (swish): y = x sigmoid(x).

use serde::{Deserialize, Serialize};

use super::shared::unary::{Activation, build, samples, sigmoid};
use super::{Layer, Operator, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Real, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "silu",
    summary: "x sigmoid(x) (torch.nn.SiLU)",
    shader: shader!("silu", UNARY, SPECIAL),
    layer: Some(parse_layer::<Silu>),
    samples: || samples(Silu {}),
};

/// The layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silu {}

impl Activation for Silu {
    const NAME: &'static str = "silu";

    fn value<T: Real>(&self, x: T) -> T {
        x * sigmoid(x)
    }

    fn derivative<T: Real>(&self, x: T) -> T {
        sigmoid(x) * (T::one() + x * sigmoid(-x))
    }
}

impl Layer for Silu {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}
