//! `torch.nn.Hardsigmoid`: y = clamp(x + 3, 0, 6) / 6.

use serde::{Deserialize, Serialize};

use super::shared::unary::{Activation, build, samples};
use super::{Layer, Operator, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Real, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "hardsigmoid",
    summary: "clamp(x + 3, 0, 6) / 6 (torch.nn.Hardsigmoid)",
    shader: shader!("hardsigmoid", UNARY),
    layer: Some(parse_layer::<Hardsigmoid>),
    samples: || samples(Hardsigmoid {}),
};

/// The layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardsigmoid {}

impl Activation for Hardsigmoid {
    const NAME: &'static str = "hardsigmoid";

    fn value<T: Real>(&self, x: T) -> T {
        let (zero, six) = (T::zero(), T::of(6.0));
        let shifted = x + T::of(3.0);
        let clamped = if shifted < zero { zero } else if shifted > six { six } else { shifted };
        clamped / six
    }

    fn derivative<T: Real>(&self, x: T) -> T {
        let three = T::of(3.0);
        if x > -three && x < three { T::of(1.0 / 6.0) } else { T::zero() }
    }
}

impl Layer for Hardsigmoid {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}
