//! `torch.nn.Dropout`: in training every element is zero with probability p, and divided by 1 - p otherwise.

use serde::{Deserialize, Serialize};

use super::shared::mask::{Dropping, Sizes, build, sample};
use super::{Layer, Operator, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "dropout",
    summary: "drops elements in training (torch.nn.Dropout)",
    shader: shader!("dropout", MASK, RANDOM),
    layer: Some(parse_layer::<Dropout>),
    samples,
};

/// The layer; arguments and defaults are those of `torch.nn.Dropout`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dropout {
    /// Probability that an element is dropped.
    pub p: f32,
}

impl Default for Dropout {
    fn default() -> Dropout {
        Dropout { p: 0.5 }
    }
}

impl Dropping for Dropout {
    const NAME: &'static str = "dropout";
    const PER_PIXEL: bool = true;

    fn p(&self) -> f32 {
        self.p
    }

    fn unit(sizes: Sizes, n: u32, c: u32, pixel: u32) -> u32 {
        n.wrapping_mul(sizes.channels).wrapping_add(c).wrapping_mul(sizes.pixels).wrapping_add(pixel)
    }
}

impl Layer for Dropout {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}

fn samples() -> Vec<Sample> {
    vec![
        sample("image", &[2, 3, 5, 7], Dropout::default()),
        sample("image-of-four", &[2, 8, 5, 3], Dropout { p: 0.3 }),
        sample("matrix", &[3, 37], Dropout { p: 0.2 }),
        sample("tokens", &[3, 5, 7], Dropout { p: 0.8 }),
        sample("one", &[1, 1, 1, 1], Dropout { p: 0.1 }),
        sample("all", &[2, 5], Dropout { p: 1.0 }),
        sample("none", &[2, 5], Dropout { p: 0.0 }),
    ]
}
