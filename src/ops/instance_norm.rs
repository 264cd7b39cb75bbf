//! `torch.nn.InstanceNorm2d`: each sample's channels over all pixels.

use serde::{Deserialize, Serialize};

use super::shared::sample_norm::{Forward, SampleNorm, Sets, build};
use super::{Draw, Layer, Operator, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "instance_norm",
    summary: "normalises each channel of each sample (torch.nn.InstanceNorm2d)",
    shader: shader!("instance_norm", SAMPLE_NORM, REDUCE),
    layer: Some(parse_layer::<InstanceNorm>),
    samples,
};

/// The layer, without running statistics; arguments and defaults are those of `torch.nn.InstanceNorm2d`,
/// `num_features` is inferred.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InstanceNorm {
    /// Added to the variance.
    pub eps: f32,
    /// Whether to scale and shift each channel.
    pub affine: bool,
}

impl Default for InstanceNorm {
    fn default() -> InstanceNorm {
        InstanceNorm { eps: 1e-5, affine: false }
    }
}

impl Layer for InstanceNorm {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}

/// The operator: `(input[, weight, bias]) -> output, mean, invstd`, the statistics of shape `[N, C]`.
pub type Normalization = Forward<InstanceNorm>;

impl SampleNorm for InstanceNorm {
    const NAME: &'static str = "instance_norm";

    fn eps(&self) -> f32 {
        self.eps
    }

    fn affine(&self) -> [bool; 2] {
        [self.affine; 2]
    }

    fn sets(&self, input: &Shape) -> Result<Sets, String> {
        let Some([samples, channels, h, w]) = input.as_4d() else {
            return Err(format!("input must be [N, C, H, W], it is {input}"));
        };
        if h * w == 1 {
            return Err(format!("expects more than 1 spatial element, the input is {input}"));
        }
        Ok(Sets { samples, pixels: h * w, channels, groups: channels, parameters: [channels].into() })
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: [usize; 4], affine: bool| {
        let mut inputs = vec![(input.to_vec(), Draw::Normal)];
        if affine {
            inputs.extend([(vec![input[1]], Draw::Normal), (vec![input[1]], Draw::Normal)]);
        }
        let op = Normalization::new(InstanceNorm { eps: 1e-3, affine });
        Sample::new(format!("instance_norm/{id}"), inputs, move |graph, values| {
            graph.apply(op.clone(), values)
        })
    };
    vec![
        case("plain", [2, 3, 5, 4], false),
        case("affine", [3, 5, 2, 3], true),
        case("channels-of-four", [2, 4, 5, 3], true),
        case("one-image-one-channel", [1, 1, 3, 5], true),
        case("many-pixels", [1, 2, 7, 11], true),
        case("two-pixels", [2, 3, 1, 2], false),
    ]
}
