//! `torch.nn.GroupNorm`: each sample's groups of channels over all pixels.

use serde::{Deserialize, Serialize};

use super::shared::sample_norm::{Forward, SampleNorm, Sets, build};
use super::{Draw, Layer, Operator, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "group_norm",
    summary: "normalises groups of channels of each sample (torch.nn.GroupNorm)",
    shader: shader!("group_norm", SAMPLE_NORM, REDUCE),
    layer: Some(parse_layer::<GroupNorm>),
    samples,
};

/// The layer; arguments and defaults are those of `torch.nn.GroupNorm`, `num_channels` is inferred.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupNorm {
    /// How many groups the channels are split into.
    pub num_groups: usize,
    /// Added to the variance.
    #[serde(default = "default_eps")]
    pub eps: f32,
    /// Whether to scale and shift each channel.
    #[serde(default = "yes")]
    pub affine: bool,
}

fn default_eps() -> f32 {
    1e-5
}

fn yes() -> bool {
    true
}

impl GroupNorm {
    /// With PyTorch's defaults.
    pub fn new(num_groups: usize) -> GroupNorm {
        GroupNorm { num_groups, eps: default_eps(), affine: true }
    }
}

impl Layer for GroupNorm {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}

/// The operator: `(input[, weight, bias]) -> output, mean, invstd`, the statistics of shape `[N, groups]`.
pub type Normalization = Forward<GroupNorm>;

impl SampleNorm for GroupNorm {
    const NAME: &'static str = "group_norm";

    fn eps(&self) -> f32 {
        self.eps
    }

    fn affine(&self) -> [bool; 2] {
        [self.affine; 2]
    }

    fn sets(&self, input: &Shape) -> Result<Sets, String> {
        let (samples, channels, pixels) = match input[..] {
            [n, c, h, w] => (n, c, h * w),
            [n, c] => (n, c, 1),
            _ => return Err(format!("input must be [N, C, H, W] or [N, C], it is {input}")),
        };
        let groups = self.num_groups;
        if groups == 0 || channels % groups != 0 {
            return Err(format!("num_groups {groups} must divide the {channels} input channels ({input})"));
        }
        if samples * pixels * (channels / groups) == 1 {
            return Err(format!("expects more than 1 value per group, the input is {input}"));
        }
        Ok(Sets { samples, pixels, channels, groups, parameters: [channels].into() })
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: &[usize], norm: GroupNorm| {
        let mut inputs = vec![(input.to_vec(), Draw::Normal)];
        if norm.affine {
            inputs.extend([(vec![input[1]], Draw::Normal), (vec![input[1]], Draw::Normal)]);
        }
        let op = Normalization::new(GroupNorm { eps: 1e-3, ..norm });
        Sample::new(format!("group_norm/{id}"), inputs, move |graph, values| graph.apply(op.clone(), values))
    };
    vec![
        case("two-groups", &[3, 6, 3, 2], GroupNorm::new(2)),
        case("groups-of-four", &[3, 8, 3, 2], GroupNorm::new(2)),
        case("groups-of-two", &[3, 8, 3, 2], GroupNorm::new(4)),
        case("one-group", &[2, 5, 3, 5], GroupNorm::new(1)),
        case("group-per-channel", &[2, 3, 5, 3], GroupNorm::new(3)),
        case("batch-1-pixel-1", &[1, 6, 1, 1], GroupNorm::new(3)),
        case("matrix", &[3, 14], GroupNorm::new(2)),
        case("no-affine", &[2, 4, 3, 5], GroupNorm { affine: false, ..GroupNorm::new(2) }),
        case("many-slabs", &[1, 1, 33, 35], GroupNorm::new(1)),
    ]
}
