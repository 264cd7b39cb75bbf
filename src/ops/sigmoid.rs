//! `torch.nn.Sigmoid`: y = 1 / (1 + exp(-x)).

use serde::{Deserialize, Serialize};

use super::shared::unary::{Activation, build, samples, sigmoid};
use super::{Layer, Operator, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Real, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "sigmoid",
    summary: "1 / (1 + exp(-x)) (torch.nn.Sigmoid)",
    shader: shader!("sigmoid", UNARY, SPECIAL),
    layer: Some(parse_layer::<Sigmoid>),
    samples: || samples(Sigmoid {}),
};

/// The layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sigmoid {}

impl Activation for Sigmoid {
    const NAME: &'static str = "sigmoid";

    fn value<T: Real>(&self, x: T) -> T {
        sigmoid(x)
    }

    fn derivative<T: Real>(&self, x: T) -> T {
        sigmoid(x) * sigmoid(-x)
    }
}

impl Layer for Sigmoid {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}
