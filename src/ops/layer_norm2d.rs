//! `timm.layers.LayerNorm2d`: each pixel over its channels, as ConvNeXt has it.

use serde::{Deserialize, Serialize};

use super::shared::sample_norm::{Forward, SampleNorm, Sets, build};
use super::{Draw, Layer, Operator, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "layer_norm2d",
    summary: "normalises each pixel over its channels (torchvision's and timm's LayerNorm2d)",
    shader: shader!("layer_norm2d", SAMPLE_NORM, REDUCE),
    layer: Some(parse_layer::<LayerNorm2d>),
    samples,
};

/// The layer; the number of channels is inferred.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LayerNorm2d {
    /// Added to the variance.
    pub eps: f32,
    /// Whether to scale and shift each channel.
    pub affine: bool,
}

impl Default for LayerNorm2d {
    fn default() -> LayerNorm2d {
        LayerNorm2d { eps: 1e-6, affine: true }
    }
}

impl Layer for LayerNorm2d {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}

/// The operator: `(input[, weight, bias]) -> output, mean, invstd`, the statistics of shape `[N H W, 1]`.
pub type Normalization = Forward<LayerNorm2d>;

impl SampleNorm for LayerNorm2d {
    const NAME: &'static str = "layer_norm2d";

    fn eps(&self) -> f32 {
        self.eps
    }

    fn affine(&self) -> [bool; 2] {
        [self.affine; 2]
    }

    fn sets(&self, input: &Shape) -> Result<Sets, String> {
        let Some([n, channels, h, w]) = input.as_4d() else {
            return Err(format!("input must be [N, C, H, W], it is {input}"));
        };
        Ok(Sets { samples: n * h * w, pixels: 1, channels, groups: 1, parameters: [channels].into() })
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: [usize; 4], affine: bool| {
        let mut inputs = vec![(input.to_vec(), Draw::Normal)];
        if affine {
            inputs.extend([(vec![input[1]], Draw::Normal), (vec![input[1]], Draw::Normal)]);
        }
        let op = Normalization::new(LayerNorm2d { eps: 1e-3, affine });
        Sample::new(format!("layer_norm2d/{id}"), inputs, move |graph, values| {
            graph.apply(op.clone(), values)
        })
    };
    vec![
        case("plain", [2, 7, 3, 2], true),
        case("channels-of-four", [2, 12, 3, 2], true),
        case("batch-1-pixel-1", [1, 5, 1, 1], true),
        case("no-affine", [2, 5, 3, 3], false),
        case("many-channels", [1, 67, 1, 2], true),
        case("many-pixels", [2, 3, 5, 7], true),
    ]
}
