//! `torch.nn.Hardswish`: y = x clamp(x + 3, 0, 6) / 6.

use serde::{Deserialize, Serialize};

use super::shared::unary::{Activation, build, samples};
use super::{Layer, Operator, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Real, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "hardswish",
    summary: "x clamp(x + 3, 0, 6) / 6 (torch.nn.Hardswish)",
    shader: shader!("hardswish", UNARY),
    layer: Some(parse_layer::<Hardswish>),
    samples: || samples(Hardswish {}),
};

/// The layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardswish {}

impl Activation for Hardswish {
    const NAME: &'static str = "hardswish";

    fn value<T: Real>(&self, x: T) -> T {
        let (zero, six) = (T::zero(), T::of(6.0));
        let shifted = x + T::of(3.0);
        let clamped = if shifted < zero { zero } else if shifted > six { six } else { shifted };
        x * clamped / six
    }

    fn derivative<T: Real>(&self, x: T) -> T {
        let three = T::of(3.0);
        if x <= -three {
            T::zero()
        } else if x < three {
            x / three + T::of(0.5)
        } else {
            T::one()
        }
    }
}

impl Layer for Hardswish {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}
