//! `torch.nn.GELU`: y = x Phi(x), where Phi is the normal distribution's function, exact or by a tanh.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use serde::{Deserialize, Serialize};

use super::shared::unary::{self, Activation, build, sample, sech_squared};
use super::{Layer, Operator, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Real, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "gelu",
    summary: "x Phi(x), exact or by tanh (torch.nn.GELU)",
    shader: shader!("gelu", UNARY, SPECIAL),
    layer: Some(parse_layer::<Gelu>),
    samples,
};

const SQRT_TWO_OVER_PI: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
const CUBIC: f64 = 0.044715;

/// The layer; arguments and defaults are those of `torch.nn.GELU`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gelu {
    /// How Phi is computed.
    pub approximate: Approximate,
}

/// How Phi is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approximate {
    /// (1 + erf(x / sqrt 2)) / 2
    #[default]
    None,
    /// (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
    Tanh,
}

/// What the approximation takes the tanh of.
fn inner<T: Real>(x: T) -> T {
    T::of(SQRT_TWO_OVER_PI) * x * (T::one() + T::of(CUBIC) * x * x)
}

impl Activation for Gelu {
    const NAME: &'static str = "gelu";

    fn arguments(&self) -> [f32; 2] {
        [if self.approximate == Approximate::Tanh { 1.0 } else { 0.0 }, 0.0]
    }

    fn value<T: Real>(&self, x: T) -> T {
        let phi = match self.approximate {
            Approximate::None => T::one() + (x * T::of(FRAC_1_SQRT_2)).erf(),
            Approximate::Tanh => T::one() + inner(x).tanh(),
        };
        T::of(0.5) * x * phi
    }

    /// Phi(x) + x Phi'(x)
    fn derivative<T: Real>(&self, x: T) -> T {
        let (one, half) = (T::one(), T::of(0.5));
        match self.approximate {
            Approximate::None => {
                let density = T::of(0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2) * (-half * x * x).exp();
                half * (one + (x * T::of(FRAC_1_SQRT_2)).erf()) + x * density
            }
            Approximate::Tanh => {
                let u = inner(x);
                let slope = T::of(SQRT_TWO_OVER_PI) * (one + T::of(3.0 * CUBIC) * x * x);
                half * (one + u.tanh()) + half * x * sech_squared(u) * slope
            }
        }
    }
}

impl Layer for Gelu {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}

fn samples() -> Vec<Sample> {
    let tanh = Gelu { approximate: Approximate::Tanh };
    let approximate = vec![
        sample("tanh-image", &[2, 3, 5, 7], tanh.clone()),
        sample("tanh-one", &[1], tanh.clone()),
        sample("tanh-matrix", &[3, 37], tanh),
    ];
    [unary::samples(Gelu::default()), approximate].concat()
}
