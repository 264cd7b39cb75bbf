//! Stochastic depth (`timm.layers.DropPath`): in training every sample is zero with probability p, and divided by 1 - p
//! otherwise (timm's scale_by_keep). At the end of a residual's body it drops the whole body.

use serde::{Deserialize, Serialize};

use super::shared::mask::{Dropping, Sizes, build, sample};
use super::{Layer, Operator, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Value};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "drop_path",
    summary: "drops samples in training, stochastic depth (timm.layers.DropPath)",
    shader: shader!("drop_path", MASK, RANDOM),
    layer: Some(parse_layer::<DropPath>),
    samples,
};

/// The layer; the default is that of `timm.layers.DropPath`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DropPath {
    /// Probability that a sample is dropped.
    pub p: f32,
}

impl Dropping for DropPath {
    const NAME: &'static str = "drop_path";
    const PER_PIXEL: bool = false;

    fn p(&self) -> f32 {
        self.p
    }

    fn unit(_: Sizes, n: u32, _: u32, _: u32) -> u32 {
        n
    }
}

impl Layer for DropPath {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}

fn samples() -> Vec<Sample> {
    vec![
        sample("image", &[5, 3, 3, 4], DropPath { p: 0.5 }),
        sample("image-of-four", &[5, 8, 3, 4], DropPath { p: 0.5 }),
        sample("matrix", &[17, 7], DropPath { p: 0.2 }),
        sample("one", &[1, 1, 1, 1], DropPath { p: 0.1 }),
        sample("all", &[2, 3, 2, 1], DropPath { p: 1.0 }),
        sample("none", &[2, 3, 2, 1], DropPath::default()),
    ]
}
