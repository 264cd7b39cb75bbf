//! `torch.nn.ReLU6`: y = min(max(x, 0), 6), where a NaN passes.

use serde::{Deserialize, Serialize};

use super::shared::unary::{Activation, build, samples};
use super::{Layer, Operator, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Real, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "relu6",
    summary: "min(max(x, 0), 6) (torch.nn.ReLU6)",
    shader: shader!("relu6", UNARY),
    layer: Some(parse_layer::<Relu6>),
    samples: || samples(Relu6 {}),
};

/// The layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relu6 {}

impl Activation for Relu6 {
    const NAME: &'static str = "relu6";

    fn value<T: Real>(&self, x: T) -> T {
        let six = T::of(6.0);
        if x <= T::zero() {
            T::zero()
        } else if x >= six {
            six
        } else {
            x
        }
    }

    fn derivative<T: Real>(&self, x: T) -> T {
        if x <= T::zero() || x >= T::of(6.0) { T::zero() } else { T::one() }
    }
}

impl Layer for Relu6 {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}
