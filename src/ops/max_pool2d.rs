//! `torch.nn.MaxPool2d`: the largest pixel under each window, per channel.
//!
//! Letters: input `N C H W`, window `R S`, output `N C P Q`.

use serde::{Deserialize, Serialize};

use super::shared::average::lanes;
use super::shared::pool::{Dims, Pool, Tap};
use super::shared::simd::vectorised_call;
use super::shared::unary::CHUNK;
use super::{Draw, Layer, Operator, Pair, Sample, parse_layer};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Backward, Context, DispatchBuilder, Graph, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};
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
        context.host.for_each_chunk_pair(first, second, &|i, output, taps| {
            vectorised_call(forward_rows, (&dims, input, i * rows, output, taps));
        });
    }
}

/// Rows of outputs from a row on, counted over all images.
#[inline(always)]
fn forward_rows<T: Real>((dims, input, first, output, taps): (&Dims, &[T], usize, &mut [T], &mut [T])) {
    let (inside, mut border) = (dims.whole_window(), vec![]);
    let pixels = output.chunks_exact_mut(dims.c).zip(taps.chunks_exact_mut(dims.c));
    for (at, (output, winners)) in pixels.enumerate() {
        let (row, q) = (first + at / dims.q, at % dims.q);
        let image = &input[row / dims.p * dims.image()..][..dims.image()];
        let (taps, first) = dims.taps([row % dims.p, q], &inside, &mut border);
        forward_pixel(&image[first..], taps, output, winners);
    }
}

/// Channels that a CPU kernel keeps in registers.
const LANES: usize = 8;

/// One output pixel: the largest value and its tap, for all channels.
#[inline(always)]
fn forward_pixel<T: Real>(image: &[T], taps: &[Tap<T>], output: &mut [T], winners: &mut [T]) {
    let (blocks, rest) = output.as_chunks_mut::<LANES>();
    let (winner_blocks, winner_rest) = winners.as_chunks_mut::<LANES>();
    let first_rest = blocks.len() * LANES;
    for (i, (output, winners)) in blocks.iter_mut().zip(winner_blocks).enumerate() {
        (*output, *winners) = largest(image, taps, i * LANES);
    }
    for (i, (output, winner)) in rest.iter_mut().zip(winner_rest).enumerate() {
        ([*output], [*winner]) = largest(image, taps, first_rest + i);
    }
}

/// The largest values of `N` channels and their taps.
#[inline(always)]
fn largest<T: Real, const N: usize>(image: &[T], taps: &[Tap<T>], channel: usize) -> ([T; N], [T; N]) {
    let Some((first, others)) = taps.split_first() else {
        return ([T::neg_infinity(); N], [-T::one(); N]);
    };
    let pixel = |tap: &Tap<T>| -> [T; N] {
        let channels = &image[tap.offset + channel..][..N];
        channels.try_into().expect("a slice of N elements")
    };
    let (mut best, mut winners) = (pixel(first), [first.number; N]);
    for tap in others {
        let values = pixel(tap);
        for i in 0..N {
            let wins = (values[i] > best[i]) | values[i].is_nan();
            best[i] = if wins { values[i] } else { best[i] };
            winners[i] = if wins { tap.number } else { winners[i] };
        }
    }
    (best, winners)
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
            let first = n * dims.p * dims.row();
            let winners = &winners[first..first + dims.p * dims.row()];
            vectorised_call(backward_image, (&dims, &grad[first..], winners, image));
        });
    }
}

/// The gradient of one image.
#[inline(always)]
fn backward_image<T: Real>((dims, grad, winners, image): (&Dims, &[T], &[T], &mut [T])) {
    image.fill(T::zero());
    let (inside, mut border) = (dims.whole_window(), vec![]);
    let pixels = grad.chunks_exact(dims.c).zip(winners.chunks_exact(dims.c));
    for (at, (grad, winners)) in pixels.enumerate() {
        let (taps, first) = dims.taps([at / dims.q, at % dims.q], &inside, &mut border);
        backward_pixel(grad, winners, taps, &mut image[first..]);
    }
}

/// Adds the gradient of one output pixel to the pixels that have won it, for all channels.
#[inline(always)]
fn backward_pixel<T: Real>(grad: &[T], winners: &[T], taps: &[Tap<T>], image: &mut [T]) {
    let (blocks, rest) = grad.as_chunks::<LANES>();
    let (winner_blocks, winner_rest) = winners.as_chunks::<LANES>();
    let first_rest = blocks.len() * LANES;
    for (i, (grad, winners)) in blocks.iter().zip(winner_blocks).enumerate() {
        give(*grad, *winners, taps, &mut image[i * LANES..]);
    }
    for (i, (grad, winner)) in rest.iter().zip(winner_rest).enumerate() {
        give([*grad], [*winner], taps, &mut image[first_rest + i..]);
    }
}

/// Adds the gradient of `N` channels to the pixels that have won them.
#[inline(always)]
fn give<T: Real, const N: usize>(grad: [T; N], winners: [T; N], taps: &[Tap<T>], image: &mut [T]) {
    for tap in taps {
        let pixel: &mut [T; N] =
            (&mut image[tap.offset..][..N]).try_into().expect("a slice of N elements");
        for i in 0..N {
            pixel[i] += if winners[i] == tap.number { grad[i] } else { T::zero() };
        }
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
