//! `torch.nn.ELU`: y = x where x > 0, else alpha (exp(x) - 1).

use serde::{Deserialize, Serialize};

use super::shared::unary::{self, Activation, build, sample};
use super::{Layer, Operator, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Real, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "elu",
    summary: "x where x > 0, else alpha (exp(x) - 1) (torch.nn.ELU)",
    shader: shader!("elu", UNARY, SPECIAL),
    layer: Some(parse_layer::<Elu>),
    samples,
};

/// The layer; arguments and defaults are those of `torch.nn.ELU`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Elu {
    /// Minus the limit at minus infinity.
    pub alpha: f32,
}

impl Default for Elu {
    fn default() -> Elu {
        Elu { alpha: 1.0 }
    }
}

impl Activation for Elu {
    const NAME: &'static str = "elu";

    fn arguments(&self) -> [f32; 2] {
        [self.alpha, 0.0]
    }

    fn value<T: Real>(&self, x: T) -> T {
        if x <= T::zero() { T::of(self.alpha.into()) * x.exp_m1() } else { x }
    }

    fn derivative<T: Real>(&self, x: T) -> T {
        if x <= T::zero() { T::of(self.alpha.into()) * x.exp() } else { T::one() }
    }
}

impl Layer for Elu {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}

fn samples() -> Vec<Sample> {
    [unary::samples(Elu::default()), vec![sample("alpha", &[2, 3, 5, 3], Elu { alpha: 0.5 })]].concat()
}
