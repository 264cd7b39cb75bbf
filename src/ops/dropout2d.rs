//! `torch.nn.Dropout2d`: in training every channel of every sample is zero with probability p, and divided by 1 - p
//! otherwise.

use serde::{Deserialize, Serialize};

use super::shared::mask::{Dropping, Sizes, build, sample};
use super::{Layer, Operator, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "dropout2d",
    summary: "drops channels in training (torch.nn.Dropout2d)",
    shader: shader!("dropout2d", MASK, RANDOM),
    layer: Some(parse_layer::<Dropout2d>),
    samples,
};

/// The layer; arguments and defaults are those of `torch.nn.Dropout2d`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dropout2d {
    /// Probability that a channel of a sample is dropped.
    pub p: f32,
}

impl Default for Dropout2d {
    fn default() -> Dropout2d {
        Dropout2d { p: 0.5 }
    }
}

impl Dropping for Dropout2d {
    const NAME: &'static str = "dropout2d";
    const PER_PIXEL: bool = false;

    fn p(&self) -> f32 {
        self.p
    }

    fn check(input: &Shape) -> Result<(), String> {
        match input.as_4d() {
            Some(_) => Ok(()),
            None => Err(format!("input must be [N, C, H, W], it is {input}")),
        }
    }

    fn unit(sizes: Sizes, n: u32, c: u32, _: u32) -> u32 {
        n.wrapping_mul(sizes.channels).wrapping_add(c)
    }
}

impl Layer for Dropout2d {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}

fn samples() -> Vec<Sample> {
    vec![
        sample("image", &[3, 5, 3, 4], Dropout2d::default()),
        sample("image-of-four", &[3, 8, 3, 4], Dropout2d::default()),
        sample("pixel", &[5, 17, 1, 1], Dropout2d { p: 0.3 }),
        sample("one", &[1, 1, 1, 1], Dropout2d { p: 0.1 }),
        sample("all", &[2, 3, 2, 1], Dropout2d { p: 1.0 }),
    ]
}
