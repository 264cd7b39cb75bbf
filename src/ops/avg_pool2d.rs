//! `torch.nn.AvgPool2d`: the mean under each window, per channel.
//!
//! Letters: input `N C H W`, window `R S`, output `N C P Q`.

use serde::{Deserialize, Serialize};

use super::shared::average::{Average, AveragePool, Boxes, Side};
use super::shared::pool::Pool;
use super::{Draw, Layer, Operator, Pair, Sample, parse_layer};
use crate::error::Result;
use crate::graph::{DispatchBuilder, Graph, Value};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "avg_pool2d",
    summary: "mean under a sliding window (torch.nn.AvgPool2d)",
    shader: shader!("avg_pool2d", AVERAGE),
    layer: Some(parse_layer::<AvgPool2d>),
    samples,
};

/// The layer; arguments and defaults are those of `torch.nn.AvgPool2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AvgPool2d {
    /// Height and width of the window.
    pub kernel_size: Pair,
    /// Steps between windows; `kernel_size` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<Pair>,
    /// Zeros around the image; at most half of `kernel_size`.
    #[serde(default = "Pair::zero")]
    pub padding: Pair,
    /// Whether a last window that hangs over the end counts.
    #[serde(default)]
    pub ceil_mode: bool,
    /// Whether the padding counts as pixels.
    #[serde(default = "yes")]
    pub count_include_pad: bool,
    /// What sums are divided by, instead of the number of pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divisor_override: Option<usize>,
}

fn yes() -> bool {
    true
}

impl AvgPool2d {
    /// Windows of `kernel_size`, side by side, without padding.
    pub fn new(kernel_size: impl Into<Pair>) -> AvgPool2d {
        AvgPool2d {
            kernel_size: kernel_size.into(),
            stride: None,
            padding: Pair::zero(),
            ceil_mode: false,
            count_include_pad: true,
            divisor_override: None,
        }
    }

    /// The same with a stride.
    pub fn stride(self, stride: impl Into<Pair>) -> AvgPool2d {
        AvgPool2d { stride: Some(stride.into()), ..self }
    }

    /// The same with padding.
    pub fn padding(self, padding: impl Into<Pair>) -> AvgPool2d {
        AvgPool2d { padding: padding.into(), ..self }
    }

    /// The same with or without windows that hang over the end.
    pub fn ceil_mode(self, ceil_mode: bool) -> AvgPool2d {
        AvgPool2d { ceil_mode, ..self }
    }

    /// The same with padding that counts as pixels or does not.
    pub fn count_include_pad(self, count_include_pad: bool) -> AvgPool2d {
        AvgPool2d { count_include_pad, ..self }
    }

    /// The same with sums divided by a number.
    pub fn divisor_override(self, divisor: usize) -> AvgPool2d {
        AvgPool2d { divisor_override: Some(divisor), ..self }
    }

    fn pool(&self) -> Pool {
        Pool::new(self.kernel_size, self.stride, self.padding, Pair::one(), self.ceil_mode)
    }

    /// Window `i` along a side of `size` pixels.
    fn side(&self, i: usize, [kernel, stride, padding]: [usize; 3], size: usize) -> Side {
        let (first, last) = (i * stride, i * stride + kernel);
        let (start, end) = (first.max(padding) - padding, last.min(padding + size) - padding);
        let padded = last.min(size + 2 * padding) - first;
        Side { start, end, extent: if self.count_include_pad { padded } else { end - start } }
    }
}

impl Layer for AvgPool2d {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        graph.apply1(AveragePool(*self), &[input])
    }
}

impl Average for AvgPool2d {
    const NAME: &'static str = "avg_pool2d";

    fn output(&self, input: &Shape) -> Result<Shape, String> {
        if self.divisor_override == Some(0) {
            return Err(format!("divisor_override must be at least 1 ({input})"));
        }
        self.pool().output(input)
    }

    fn boxes(&self, input: &Shape) -> Boxes {
        let dims = self.pool().dims(input);
        let (stride, kernel, padding) = (dims.window.stride, self.kernel_size, self.padding);
        let rows = (0..dims.p).map(|p| self.side(p, [kernel.h, stride.h, padding.h], dims.h));
        let columns = (0..dims.q).map(|q| self.side(q, [kernel.w, stride.w, padding.w], dims.w));
        Boxes { rows: rows.collect(), columns: columns.collect(), divisor: self.divisor_override }
    }

    fn uniforms<'l, 'a>(&self, dispatch: DispatchBuilder<'l, 'a>) -> DispatchBuilder<'l, 'a> {
        dispatch
            .uniforms(&self.pool().uniforms())
            .uniform("count_include_pad", self.count_include_pad)
            .uniform("divisor_override", self.divisor_override.unwrap_or(0))
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: [usize; 4], op: AvgPool2d| {
        Sample::new(format!("avg_pool2d/{id}"), vec![(input.to_vec(), Draw::Normal)], move |graph, values| {
            graph.apply(AveragePool(op), values)
        })
    };
    let pool = |kernel: usize| AvgPool2d::new(kernel);
    let overlapping = pool(3).stride(2).padding(1);
    vec![
        case("basic", [2, 3, 6, 4], pool(2)),
        case("rest", [1, 3, 7, 5], pool(2)),
        case("pixel-1", [1, 1, 1, 1], pool(1)),
        case("pixel-1-padded", [2, 3, 1, 1], pool(3).stride(1).padding(1).count_include_pad(false)),
        case("overlapping", [2, 3, 7, 5], overlapping),
        case("padding-not-counted", [2, 3, 7, 5], overlapping.count_include_pad(false)),
        case("divisor", [1, 3, 7, 6], overlapping.divisor_override(5)),
        case("stride-above-kernel", [1, 3, 8, 7], pool(2).stride(3)),
        case("asymmetric", [1, 2, 9, 7], AvgPool2d::new([3, 2]).stride([1, 2]).padding([1, 0])),
        case("ceil", [1, 3, 7, 8], pool(3).stride(2).ceil_mode(true)),
        case("ceil-padded", [1, 3, 8, 7], overlapping.ceil_mode(true)),
        case("ceil-not-counted", [1, 3, 8, 7], overlapping.ceil_mode(true).count_include_pad(false)),
        case("ceil-last-in-padding", [1, 2, 5, 7], pool(2).padding(1).ceil_mode(true)),
        case("ceil-larger-than-image", [2, 3, 2, 2], pool(3).stride(2).ceil_mode(true)),
        case("channels-of-four", [2, 8, 7, 5], overlapping.count_include_pad(false)),
        case("large-window", [1, 2, 9, 11], AvgPool2d::new([8, 10]).stride(1)),
        case("many-channels", [1, 67, 3, 1], AvgPool2d::new([2, 1]).stride(1)),
    ]
}
