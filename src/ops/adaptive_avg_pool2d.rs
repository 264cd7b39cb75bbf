//! `torch.nn.AdaptiveAvgPool2d`: means over boxes that cover the image in as many rows and columns as asked for.
//!
//! Letters: input `N C H W`, output `N C P Q`.

use serde::{Deserialize, Serialize};

use super::shared::average::{Average, AveragePool, Boxes, Side};
use super::{Draw, Layer, Operator, Pair, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "adaptive_avg_pool2d",
    summary: "means over boxes to a given output size (torch.nn.AdaptiveAvgPool2d)",
    shader: shader!("adaptive_avg_pool2d", AVERAGE),
    layer: Some(parse_layer::<AdaptiveAvgPool2d>),
    samples,
};

/// The layer; its argument is that of `torch.nn.AdaptiveAvgPool2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveAvgPool2d {
    /// Height and width of the output.
    pub output_size: Pair,
}

impl AdaptiveAvgPool2d {
    /// Output of `output_size`.
    pub fn new(output_size: impl Into<Pair>) -> AdaptiveAvgPool2d {
        AdaptiveAvgPool2d { output_size: output_size.into() }
    }
}

impl Layer for AdaptiveAvgPool2d {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        graph.apply1(AveragePool(*self), &[input])
    }
}

impl Average for AdaptiveAvgPool2d {
    const NAME: &'static str = "adaptive_avg_pool2d";

    fn output(&self, input: &Shape) -> Result<Shape, String> {
        let Some([n, c, _, _]) = input.as_4d() else {
            return Err(format!("input must be [N, C, H, W], it is {input}"));
        };
        let Pair { h, w } = self.output_size;
        if h == 0 || w == 0 {
            return Err(format!("output_size must be at least 1, it is [{h}, {w}] ({input})"));
        }
        Ok([n, c, h, w].into())
    }

    fn boxes(&self, input: &Shape) -> Boxes {
        let Pair { h, w } = self.output_size;
        Boxes { rows: parts(h, input[2]), columns: parts(w, input[3]), divisor: None }
    }
}

/// `count` parts that cover `size`: part i from floor(i size / count) to ceil((i + 1) size / count).
fn parts(count: usize, size: usize) -> Vec<Side> {
    let part = |i: usize| (i * size / count, ((i + 1) * size).div_ceil(count));
    (0..count).map(part).map(|(start, end)| Side { start, end, extent: end - start }).collect()
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: [usize; 4], output_size: Pair| {
        let op = AdaptiveAvgPool2d::new(output_size);
        let id = format!("adaptive_avg_pool2d/{id}");
        Sample::new(id, vec![(input.to_vec(), Draw::Normal)], move |graph, values| {
            graph.apply(AveragePool(op), values)
        })
    };
    vec![
        case("to-one", [2, 3, 5, 7], 1.into()),
        case("even", [1, 3, 6, 8], [3, 4].into()),
        case("uneven", [1, 2, 7, 11], [3, 4].into()),
        case("overlapping", [2, 2, 5, 7], [4, 5].into()),
        case("larger", [1, 3, 2, 3], [3, 7].into()),
        case("pixel-1", [3, 5, 1, 1], 2.into()),
        case("channels-of-four", [2, 8, 5, 7], [3, 2].into()),
        case("same", [2, 3, 5, 4], [5, 4].into()),
        case("one-row", [1, 3, 13, 5], [1, 5].into()),
    ]
}
