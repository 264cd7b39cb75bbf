//! `torch.nn.Tanh`: the hyperbolic tangent.

use serde::{Deserialize, Serialize};

use super::shared::unary::{Activation, build, samples, sech_squared};
use super::{Layer, Operator, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Real, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "tanh",
    summary: "hyperbolic tangent (torch.nn.Tanh)",
    shader: shader!("tanh", UNARY, SPECIAL),
    layer: Some(parse_layer::<Tanh>),
    samples: || samples(Tanh {}),
};

/// The layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tanh {}

impl Activation for Tanh {
    const NAME: &'static str = "tanh";

    fn value<T: Real>(&self, x: T) -> T {
        x.tanh()
    }

    fn derivative<T: Real>(&self, x: T) -> T {
        sech_squared(x)
    }
}

impl Layer for Tanh {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}
