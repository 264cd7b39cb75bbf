//! `torch.nn.MaxPool2d`: the largest pixel under each window, per channel.
//!
//! Letters: input `N C H W`, window `R S`, output `N C P Q`.

use serde::{Deserialize, Serialize};

use super::shared::average::lanes;
use super::shared::pool::{Dims, Pool, Tap, Windows};
use super::shared::simd::Loop;
use super::shared::unary::CHUNK;
use super::{Draw, Layer, Operator, Pair, Sample, parse_layer};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Backward, Context, DispatchBuilder, Graph, Lower, Op, Real, Simd, Slot, TensorDesc, Value, View, ViewMut};
use crate::tensor::{DType, Shape};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "max_pool2d",
    summary: "largest pixel under a sliding window (torch.nn.MaxPool2d)",
    shader: shader!("max_pool2d"),
    layer: Some(parse_layer::<MaxPool2d>),
    samples,
};

/// The layer and its operator: `input -> (output, taps)`; arguments and defaults are those of `torch.nn.MaxPool2d`.
///
/// Of equal pixels the first in row-major order is taken; a NaN is taken before all numbers, the last of several. `taps`
/// holds the winner of each window as `r S + s` (-1 if the whole window is padding) for the gradient; as a float, so that
/// values and winners are of one width and the loop over channels vectorises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxPool2d {
    /// Height and width of the window.
    pub kernel_size: Pair,
    /// Steps between windows; `kernel_size` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<Pair>,
    /// Rows and columns around the image that never win; at most half of `kernel_size`.
    #[serde(default = "Pair::zero")]
    pub padding: Pair,
    /// Distance between a window's elements.
    #[serde(default = "Pair::one")]
    pub dilation: Pair,
    /// Whether a last window that hangs over the end counts.
    #[serde(default)]
    pub ceil_mode: bool,
}

impl MaxPool2d {
    /// Windows of `kernel_size`, side by side, without padding.
    pub fn new(kernel_size: impl Into<Pair>) -> MaxPool2d {
        MaxPool2d {
            kernel_size: kernel_size.into(),
            stride: None,
            padding: Pair::zero(),
            dilation: Pair::one(),
            ceil_mode: false,
        }
    }

    /// The same with a stride.
    pub fn stride(self, stride: impl Into<Pair>) -> MaxPool2d {
        MaxPool2d { stride: Some(stride.into()), ..self }
    }

    /// The same with padding.
    pub fn padding(self, padding: impl Into<Pair>) -> MaxPool2d {
        MaxPool2d { padding: padding.into(), ..self }
    }

    /// The same with a dilation.
    pub fn dilation(self, dilation: impl Into<Pair>) -> MaxPool2d {
        MaxPool2d { dilation: dilation.into(), ..self }
    }

    /// The same with or without windows that hang over the end.
    pub fn ceil_mode(self, ceil_mode: bool) -> MaxPool2d {
        MaxPool2d { ceil_mode, ..self }
    }

    fn pool(&self) -> Pool {
        Pool::new(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
    }

    /// Adds what both passes tell the shader.
    fn uniforms<'l, 'a>(&self, dispatch: DispatchBuilder<'l, 'a>, input: &Shape) -> DispatchBuilder<'l, 'a> {
        let pool = self.pool();
        dispatch
            .uniforms(&pool.dims(input).uniforms())
            .uniforms(&pool.uniforms())
            .uniforms(&[("dilation_h", self.dilation.h), ("dilation_w", self.dilation.w)])
    }
}

impl Layer for MaxPool2d {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        graph.apply1(*self, &[input])
    }
}

impl Op for MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        // f16 counts to 2048.
        let countable = self.kernel_size.h * self.kernel_size.w <= 2048;
        let dtype = if countable { inputs[0].dtype } else { DType::F32 };
        let output = TensorDesc::float(self.pool().output(&inputs[0].shape)?, dtype);
        Ok(vec![output.clone(), output])
    }

    /// dx[h, w] = sum of dy[p, q] over the windows (p, q) that (h, w) has won
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (grad, taps, shape) = (b.grad_output(), b.output(1), b.desc(b.input(0)).shape);
        Ok(vec![b.when_needed(0, MaxPool2dGrad { forward: *self, shape }, &[grad, taps])?])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (input, output) = (&lower.inputs[0], &lower.outputs[0]);
        let (four, count) = lanes(output);
        let dispatch = lower
            .dispatch("max_pool2d", "forward")
            .read("input", Slot::Input(0))
            .write("output", Slot::Output(0))
            .write("taps", Slot::Output(1))
            .uniform("count", count)
            .uniform("lowest", f32::NEG_INFINITY)
            .lanes(input.dtype, output.dtype, four);
        self.uniforms(dispatch, &input.shape).over(count);
    }

    fn takes_half(&self, input: usize, inputs: &[TensorDesc]) -> bool {
        inputs[input].allows_half()
    }

    cpu_kernel!(eval);
}

impl MaxPool2d {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let dims = self.pool().dims(inputs[0].shape());
        let input = inputs[0].real;
        let [output, taps] = outputs else { unreachable!("the shape rule gives two outputs") };
        let rows = (CHUNK / dims.row()).max(1);
        let chunk = rows * dims.row();
        let (first, second) = ((&mut *output.real, chunk), (&mut *taps.real, chunk));
        context.host.for_each_chunk_pair(first, second, &|i, output, winners| {
            Rows { dims: &dims, input, first: i * rows, output, winners }.vectorised();
        });
    }
}

/// Rows of outputs from a row on, counted over all images.
struct Rows<'a, T> {
    dims: &'a Dims,
    input: &'a [T],
    first: usize,
    output: &'a mut [T],
    winners: &'a mut [T],
}

impl<T: Real> Loop for Rows<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Rows { dims, input, first, output, winners } = self;
        let mut windows = Windows::new(dims);
        let rows = output.chunks_exact_mut(dims.row()).zip(winners.chunks_exact_mut(dims.row()));
        for (row, (output, winners)) in rows.enumerate().map(|(i, row)| (first + i, row)) {
            let (image, p) = (&input[row / dims.p * dims.image()..][..dims.image()], row % dims.p);
            let pixels = output.chunks_exact_mut(dims.c).zip(winners.chunks_exact_mut(dims.c));
            for (q, (output, winners)) in pixels.enumerate() {
                let (taps, first) = windows.at([p, q]);
                let channels = output.chunks_mut(T::width::<S>()).zip(winners.chunks_mut(T::width::<S>()));
                for (i, (output, winners)) in channels.enumerate() {
                    largest(simd, &image[first + i * T::width::<S>()..], taps, output, winners);
                }
            }
        }
    }
}

/// The largest values of a vector of channels and their taps.
#[inline(always)]
fn largest<T: Real, S: Simd>(simd: S, image: &[T], taps: &[Tap<T>], output: &mut [T], winners: &mut [T]) {
    let Some((first, others)) = taps.split_first() else {
        output.fill(T::neg_infinity());
        return winners.fill(-T::one());
    };
    let pixel = |tap: &Tap<T>| T::load(simd, &image[tap.offset..][..output.len()]);
    let (mut best, mut winner) = (pixel(first), T::splat(simd, first.number));
    for tap in others {
        let values = pixel(tap);
        let wins = T::wins(simd, values, best);
        best = T::select(simd, wins, values, best);
        winner = T::select(simd, wins, T::splat(simd, tap.number), winner);
    }
    T::store(simd, output, best);
    T::store(simd, winners, winner);
}

/// The gradient: `(grad_output, taps) -> grad_input`.
#[derive(Clone, Debug, PartialEq)]
struct MaxPool2dGrad {
    forward: MaxPool2d,
    shape: Shape,
}

impl Op for MaxPool2dGrad {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn pass(&self) -> &'static str {
        "grad_input"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![TensorDesc::float(self.shape.clone(), inputs[0].dtype)])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (grad_output, output) = (&lower.inputs[0], &lower.outputs[0]);
        let (four, count) = lanes(output);
        let dispatch = lower
            .dispatch("max_pool2d", "grad_input")
            .read("grad_output", Slot::Input(0))
            .read("winners", Slot::Input(1))
            .write("output", Slot::Output(0))
            .uniform("count", count)
            .lanes(grad_output.dtype, output.dtype, four);
        self.forward.uniforms(dispatch, &self.shape).over(count);
    }

    fn takes_half(&self, input: usize, inputs: &[TensorDesc]) -> bool {
        inputs[input].allows_half()
    }

    cpu_kernel!(eval);
}

impl MaxPool2dGrad {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let dims = self.forward.pool().dims(&self.shape);
        let (grad, winners) = (inputs[0].real, inputs[1].real);
        context.host.for_each_chunk(outputs[0].real, dims.image(), &|n, image| {
            let pixels = n * dims.p * dims.row()..(n + 1) * dims.p * dims.row();
            let (grad, winners) = (&grad[pixels.clone()], &winners[pixels]);
            ImageGrad { dims: &dims, grad, winners, image }.vectorised();
        });
    }
}

/// The gradient of one image.
struct ImageGrad<'a, T> {
    dims: &'a Dims,
    grad: &'a [T],
    winners: &'a [T],
    image: &'a mut [T],
}

impl<T: Real> Loop for ImageGrad<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ImageGrad { dims, grad, winners, image } = self;
        image.fill(T::zero());
        let mut windows = Windows::new(dims);
        let rows = grad.chunks_exact(dims.row()).zip(winners.chunks_exact(dims.row()));
        for (p, (grad, winners)) in rows.enumerate() {
            let pixels = grad.chunks_exact(dims.c).zip(winners.chunks_exact(dims.c));
            for (q, (grad, winners)) in pixels.enumerate() {
                let (taps, first) = windows.at([p, q]);
                let channels = grad.chunks(T::width::<S>()).zip(winners.chunks(T::width::<S>()));
                for (i, (grad, winners)) in channels.enumerate() {
                    give(simd, grad, winners, taps, &mut image[first + i * T::width::<S>()..]);
                }
            }
        }
    }
}

/// Adds the gradient of a vector of channels to the pixels that have won them.
#[inline(always)]
fn give<T: Real, S: Simd>(simd: S, grad: &[T], winners: &[T], taps: &[Tap<T>], image: &mut [T]) {
    let (gradient, winner) = (T::load(simd, grad), T::load(simd, winners));
    let zero = T::splat(simd, T::zero());
    for tap in taps {
        let pixel = &mut image[tap.offset..][..grad.len()];
        let wins = T::equals(simd, winner, T::splat(simd, tap.number));
        let sum = T::plus(simd, T::load(simd, pixel), T::select(simd, wins, gradient, zero));
        T::store(simd, pixel, sum);
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: [usize; 4], op: MaxPool2d| {
        Sample::new(format!("max_pool2d/{id}"), vec![(input.to_vec(), Draw::Distinct)], move |graph, values| {
            Ok(vec![graph.apply1(op, values)?])
        })
    };
    let pool = |kernel: usize| MaxPool2d::new(kernel);
    vec![
        case("basic", [2, 3, 6, 4], pool(2)),
        case("rest", [1, 3, 7, 5], pool(2)),
        case("pixel-1", [1, 1, 1, 1], pool(1)),
        case("pixel-1-padded", [2, 3, 1, 1], pool(3).stride(1).padding(1)),
        case("overlapping", [2, 3, 7, 5], pool(3).stride(2).padding(1)),
        case("stride-1", [1, 2, 5, 7], pool(3).stride(1).padding(1)),
        case("stride-above-kernel", [1, 3, 8, 7], pool(2).stride(3)),
        case("dilated", [1, 2, 9, 7], pool(3).stride(2).padding(1).dilation(2)).may_drop_nan(),
        case(
            "asymmetric",
            [1, 2, 9, 7],
            MaxPool2d::new([3, 2]).stride([1, 2]).padding([1, 0]).dilation([1, 2]),
        ),
        case("ceil", [1, 3, 7, 8], pool(3).stride(2).ceil_mode(true)),
        case("ceil-last-in-padding", [1, 2, 5, 7], pool(2).padding(1).ceil_mode(true)),
        case("ceil-larger-than-image", [2, 3, 2, 2], pool(3).stride(2).ceil_mode(true)),
        case("channels-of-four", [2, 12, 7, 5], pool(3).stride(2).padding(1)),
        case("whole-image", [2, 5, 3, 5], MaxPool2d::new([3, 5])),
        case("many-channels", [1, 67, 3, 1], MaxPool2d::new([2, 1]).stride(1)),
    ]
}
