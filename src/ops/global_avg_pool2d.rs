//! `torch.nn.AdaptiveAvgPool2d(1)`: the mean over all pixels, per image and channel. It has kernels of its own because one
//! invocation per output, as `adaptive_avg_pool2d` has, would leave a GPU idle.
//!
//! Letters: input `N C H W`, output `N C 1 1`.

use serde::{Deserialize, Serialize};

use super::shared::average::{Average, AveragePool, Boxes, Side, lanes};
use super::{Draw, Layer, Operator, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{Graph, Lower, Slot, Value};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "global_avg_pool2d",
    summary: "mean over all pixels (torch.nn.AdaptiveAvgPool2d(1))",
    shader: shader!("global_avg_pool2d"),
    layer: Some(parse_layer::<GlobalAvgPool2d>),
    samples,
};

/// Invocations of a workgroup side by side along the channels, as in the shader.
const COLUMNS: usize = 8;

/// The layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalAvgPool2d {
    /// Whether the operator's output is `N C`.
    #[serde(skip)]
    pub flat: bool,
}

impl Layer for GlobalAvgPool2d {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        graph.apply1(AveragePool(*self), &[input])
    }
}

impl Average for GlobalAvgPool2d {
    const NAME: &'static str = "global_avg_pool2d";

    fn output(&self, input: &Shape) -> Result<Shape, String> {
        match input.as_4d() {
            Some([n, c, _, _]) if self.flat => Ok([n, c].into()),
            Some([n, c, _, _]) => Ok([n, c, 1, 1].into()),
            None => Err(format!("input must be [N, C, H, W], it is {input}")),
        }
    }

    fn boxes(&self, input: &Shape) -> Boxes {
        let whole = |size: usize| vec![Side { start: 0, end: size, extent: size }];
        Boxes { rows: whole(input[2]), columns: whole(input[3]), divisor: None }
    }

    fn lower_forward(&self, lower: &mut Lower<'_>) {
        let (input, output) = (&lower.inputs[0], &lower.outputs[0]);
        let [n, c, h, w] = input.shape.as_4d().expect("the shape rule has checked the rank");
        let (four, pieces) = lanes(output);
        lower
            .dispatch(Self::NAME, "forward")
            .read("input", Slot::Input(0))
            .write("output", Slot::Output(0))
            .uniforms(&[("n", n), ("c", c), ("pixels", h * w)])
            .lanes(input.dtype, output.dtype, four)
            .groups(n * (pieces / n).div_ceil(COLUMNS));
    }

    fn lower_grad_input(&self, lower: &mut Lower<'_>) {
        let (grad_output, output) = (&lower.inputs[0], &lower.outputs[0]);
        let [_, c, h, w] = output.shape.as_4d().expect("the forward node has checked the rank");
        let (four, count) = lanes(output);
        lower
            .dispatch(Self::NAME, "grad_input")
            .read("input", Slot::Input(0))
            .write("output", Slot::Output(0))
            .uniforms(&[("count", count), ("c", c), ("pixels", h * w)])
            .lanes(grad_output.dtype, output.dtype, four)
            .over(count);
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: [usize; 4]| {
        let id = format!("global_avg_pool2d/{id}");
        let flat = id.ends_with("flat");
        Sample::new(id, vec![(input.to_vec(), Draw::Normal)], move |graph, values| {
            graph.apply(AveragePool(GlobalAvgPool2d { flat }), values)
        })
    };
    vec![
        case("basic", [2, 3, 5, 7]),
        case("flat", [3, 5, 2, 3]),
        case("fours-flat", [2, 8, 3, 3]),
        case("pixel-1", [1, 1, 1, 1]),
        case("pixel-1-batch", [3, 11, 1, 1]),
        case("channels-of-four", [2, 12, 5, 7]),
        case("several-blocks-of-four", [3, 36, 3, 1]),
        case("several-blocks", [3, 17, 3, 1]),
        case("several-runs", [1, 2, 17, 19]),
    ]
}
