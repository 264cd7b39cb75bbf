//! `torch.nn.LeakyReLU`: y = x where x > 0, else negative_slope x.

use serde::{Deserialize, Serialize};

use super::shared::unary::{self, Activation, build, sample};
use super::{Layer, Operator, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Real, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "leaky_relu",
    summary: "x where x > 0, else negative_slope x (torch.nn.LeakyReLU)",
    shader: shader!("leaky_relu", UNARY),
    layer: Some(parse_layer::<LeakyRelu>),
    samples,
};

/// The layer; arguments and defaults are those of `torch.nn.LeakyReLU`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeakyRelu {
    /// Slope where x < 0.
    pub negative_slope: f32,
}

impl Default for LeakyRelu {
    fn default() -> LeakyRelu {
        LeakyRelu { negative_slope: 0.01 }
    }
}

impl Activation for LeakyRelu {
    const NAME: &'static str = "leaky_relu";

    fn arguments(&self) -> [f32; 2] {
        [self.negative_slope, 0.0]
    }

    fn value<T: Real>(&self, x: T) -> T {
        if x > T::zero() { x } else { T::of(self.negative_slope.into()) * x }
    }

    fn derivative<T: Real>(&self, x: T) -> T {
        if x > T::zero() { T::one() } else { T::of(self.negative_slope.into()) }
    }
}

impl Layer for LeakyRelu {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}

fn samples() -> Vec<Sample> {
    let steep = LeakyRelu { negative_slope: 0.3 };
    [unary::samples(LeakyRelu::default()), vec![sample("slope", &[2, 3, 5, 3], steep)]].concat()
}
