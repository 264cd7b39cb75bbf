//! `torch.nn.LayerNorm` over C, H, W of images, or over the last dimension of matrices and tokens.

use serde::{Deserialize, Serialize};

use super::shared::sample_norm::{Forward, SampleNorm, Sets, build};
use super::{Draw, Layer, Operator, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "layer_norm",
    summary: "normalises each sample over C, H, W or the last dimension (torch.nn.LayerNorm)",
    shader: shader!("layer_norm", SAMPLE_NORM, REDUCE),
    layer: Some(parse_layer::<LayerNorm>),
    samples,
};

/// The layer; arguments and defaults are those of `torch.nn.LayerNorm`, but for `normalized_shape`: its sizes are
/// inferred.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LayerNorm {
    /// Over which dimensions; by default `chw` for images and `last` for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dims: Option<Dims>,
    /// Added to the variance.
    pub eps: f32,
    /// Whether there are a weight and a bias.
    pub elementwise_affine: bool,
    /// Whether there is a bias if there is a weight.
    pub bias: bool,
}

/// The dimensions that a layer norm is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dims {
    /// All but the first of [N, C, H, W].
    Chw,
    /// The last of [N, D] or [N, T, D].
    Last,
}

impl Default for LayerNorm {
    fn default() -> LayerNorm {
        LayerNorm { dims: None, eps: 1e-5, elementwise_affine: true, bias: true }
    }
}

impl Layer for LayerNorm {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        build(self, graph, input)
    }
}

/// The operator: `(input[, weight[, bias]]) -> output, mean, invstd`, the statistics of shape `[samples, 1]`.
pub type Normalization = Forward<LayerNorm>;

impl SampleNorm for LayerNorm {
    const NAME: &'static str = "layer_norm";

    fn eps(&self) -> f32 {
        self.eps
    }

    fn affine(&self) -> [bool; 2] {
        [self.elementwise_affine, self.elementwise_affine && self.bias]
    }

    fn sets(&self, input: &Shape) -> Result<Sets, String> {
        let dims = self.dims.unwrap_or(if input.len() == 4 { Dims::Chw } else { Dims::Last });
        let (samples, pixels, channels, parameters) = match (dims, &input[..]) {
            (Dims::Chw, &[n, c, h, w]) => (n, h * w, c, Shape::from([c, h, w])),
            (Dims::Last, &[n, d]) => (n, 1, d, [d].into()),
            (Dims::Last, &[n, t, d]) => (n * t, 1, d, [d].into()),
            (Dims::Chw, _) => return Err(format!("dims \"chw\" needs [N, C, H, W], the input is {input}")),
            (Dims::Last, _) => {
                return Err(format!("dims \"last\" needs [N, D] or [N, T, D], the input is {input}"));
            }
        };
        Ok(Sets { samples, pixels, channels, groups: 1, parameters })
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: &[usize], norm: LayerNorm| {
        let norm = LayerNorm { eps: 1e-3, ..norm };
        let mut inputs = vec![(input.to_vec(), Draw::Normal)];
        let parameters = norm.sets(&input.into()).map(|sets| sets.parameters.to_vec()).unwrap_or_default();
        inputs.extend(
            norm.affine().into_iter().filter(|wanted| *wanted).map(|_| (parameters.clone(), Draw::Normal)),
        );
        let op = Normalization::new(norm);
        Sample::new(format!("layer_norm/{id}"), inputs, move |graph, values| graph.apply(op.clone(), values))
    };
    let plain = LayerNorm::default;
    vec![
        case("image", &[3, 2, 3, 5], plain()),
        case("channels-of-four", &[3, 4, 3, 5], plain()),
        case("row-of-four", &[3, 20], plain()),
        case("batch-1", &[1, 3, 5, 5], plain()),
        case("pixel-1", &[3, 5, 1, 1], plain()),
        case("image-no-bias", &[2, 3, 2, 3], LayerNorm { bias: false, ..plain() }),
        case("image-no-affine", &[2, 3, 4, 5], LayerNorm { elementwise_affine: false, ..plain() }),
        case("matrix", &[3, 37], plain()),
        case("long-row", &[2, 67], plain()),
        case("tokens", &[2, 3, 7], LayerNorm { dims: Some(Dims::Last), ..plain() }),
        case("many-rows", &[41, 3], plain()),
    ]
}
