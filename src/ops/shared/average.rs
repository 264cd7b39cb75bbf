//! What the three averaging pools have in common: each output pixel is the sum over a box of input pixels, per channel,
//! divided by a number. They name the boxes; bindings and entry points of two of them are in
//! `shaders/shared/average.wgsl`.
//!
//! Letters: input `N C H W`, output `N C P Q`.

use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{
    Backward, Context, DispatchBuilder, Host, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut,
};
use crate::tensor::{Layout, Shape};

/// An averaging pool.
pub trait Average: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The operator's stem.
    const NAME: &'static str;

    /// The output's shape, or what does not fit.
    fn output(&self, input: &Shape) -> Result<Shape, String>;

    /// The boxes for an input that [`Average::output`] has accepted.
    fn boxes(&self, input: &Shape) -> Boxes;

    /// Adds the members of the uniform block that only this pool has.
    fn uniforms<'l, 'a>(&self, dispatch: DispatchBuilder<'l, 'a>) -> DispatchBuilder<'l, 'a> {
        dispatch
    }

    /// Adds the dispatch of the forward pass.
    fn lower_forward(&self, lower: &mut Lower<'_>) {
        let sizes = sizes(&lower.inputs[0].shape, &lower.outputs[0].shape);
        self.lower_pass(lower, "forward", &sizes);
    }

    /// Adds the dispatch of the gradient.
    fn lower_grad_input(&self, lower: &mut Lower<'_>) {
        let sizes = sizes(&lower.outputs[0].shape, &lower.inputs[0].shape);
        self.lower_pass(lower, "grad_input", &sizes);
    }

    /// Adds the dispatch of a pass that has an invocation for each channel, or four channels, of each output pixel.
    fn lower_pass(&self, lower: &mut Lower<'_>, entry: &'static str, sizes: &[(&'static str, usize)]) {
        let (input, output) = (&lower.inputs[0], &lower.outputs[0]);
        let (four, count) = lanes(output);
        let dispatch = lower
            .dispatch(Self::NAME, entry)
            .read("input", Slot::Input(0))
            .write("output", Slot::Output(0))
            .uniforms(sizes)
            .uniform("count", count)
            .lanes(input.dtype, output.dtype, four);
        self.uniforms(dispatch).over(count);
    }
}

/// Whether invocations do four channels each, and how many they are for an output of that shape.
pub(crate) fn lanes(output: &TensorDesc) -> (bool, usize) {
    let four = Layout::innermost(&output.shape).is_multiple_of(4);
    (four, if four { output.numel() / 4 } else { output.numel() })
}

fn sizes(input: &Shape, output: &Shape) -> [(&'static str, usize); 5] {
    [("c", input[1]), ("h", input[2]), ("w", input[3]), ("p", output[2]), ("q", output[3])]
}

/// The box of each output pixel (p, q): `rows[p]` times `columns[q]`.
#[derive(Clone, Debug)]
pub struct Boxes {
    /// For each p.
    pub rows: Vec<Side>,
    /// For each q.
    pub columns: Vec<Side>,
    /// What all sums are divided by, instead of the boxes' sizes.
    pub divisor: Option<usize>,
}

/// One side of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// The first row or column.
    pub start: usize,
    /// The one after the last.
    pub end: usize,
    /// What it contributes to the divisor: its length, or more if padding counts.
    pub extent: usize,
}

impl Boxes {
    fn divisor<T: Real>(&self, p: usize, q: usize) -> T {
        let size = self.rows[p].extent * self.columns[q].extent;
        T::of(self.divisor.unwrap_or(size) as f64)
    }

    /// The pixels under the box of (p, q), row by row, as ranges of `h W + w`.
    fn lines(&self, p: usize, q: usize, w: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        let (rows, columns) = (self.rows[p], self.columns[q]);
        (rows.start..rows.end).map(move |row| row * w + columns.start..row * w + columns.end)
    }
}

/// The operator of an averaging pool: `input -> output`.
#[derive(Clone, Debug)]
pub struct AveragePool<A>(pub A);

impl<A: Average> Op for AveragePool<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![TensorDesc::float(self.0.output(&inputs[0].shape)?, inputs[0].dtype)])
    }

    /// dx[h, w] = sum of dy[p, q] / divisor[p, q] over the boxes (p, q) that hold (h, w)
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (grad, shape) = (b.grad_output(), b.desc(b.input(0)).shape);
        Ok(vec![b.when_needed(0, AveragePoolGrad { pool: self.0.clone(), shape }, &[grad])?])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        self.0.lower_forward(lower);
    }

    fn takes_half(&self, input: usize, inputs: &[TensorDesc]) -> bool {
        inputs[input].allows_half()
    }

    cpu_kernel!(eval);
}

impl<A: Average> AveragePool<A> {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let boxes = self.0.boxes(inputs[0].shape());
        let [_, c, h, w] = inputs[0].dims4();
        let (input, height, width) = (inputs[0].real, boxes.rows.len(), boxes.columns.len());
        context.host.for_each_chunk(outputs[0].real, width * c, &|row, output| {
            let (image, p) = (&input[row / height * h * w * c..][..h * w * c], row % height);
            for (q, output) in output.chunks_exact_mut(c).enumerate() {
                let lines = boxes.lines(p, q, w).map(|line| &image[line.start * c..line.end * c]);
                sum_lines(context.host, lines, output);
                let divisor = boxes.divisor(p, q);
                output.iter_mut().for_each(|y| *y /= divisor);
            }
        });
    }
}

/// Sums pixels of `output.len()` channels; long lines on their own first, so that rounding grows slowly.
fn sum_lines<'a, T: Real>(host: &dyn Host<T>, lines: impl Iterator<Item = &'a [T]>, output: &mut [T]) {
    /// Pixels of a line that is summed on its own.
    const LONG: usize = 8;
    let channels = output.len();
    let add = |sum: &mut [T], line: &[T]| {
        for pixel in line.chunks_exact(channels) {
            sum.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += *x);
        }
    };
    output.fill(T::zero());
    for line in lines {
        if line.len() < LONG * channels {
            add(output, line);
        } else {
            host.with_scratch(channels, &mut |sum| {
                sum.fill(T::zero());
                add(sum, line);
                add(output, sum);
            });
        }
    }
}

/// The gradient: `grad_output -> grad_input`.
#[derive(Clone, Debug)]
struct AveragePoolGrad<A> {
    pool: A,
    shape: Shape,
}

impl<A: Average> Op for AveragePoolGrad<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn pass(&self) -> &'static str {
        "grad_input"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![TensorDesc::float(self.shape.clone(), inputs[0].dtype)])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        self.pool.lower_grad_input(lower);
    }

    fn takes_half(&self, input: usize, inputs: &[TensorDesc]) -> bool {
        inputs[input].allows_half()
    }

    cpu_kernel!(eval);
}

impl<A: Average> AveragePoolGrad<A> {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let boxes = self.pool.boxes(&self.shape);
        let [_, c, h, w] = outputs[0].dims4();
        let (height, width) = (boxes.rows.len(), boxes.columns.len());
        context.host.for_each_chunk(outputs[0].real, h * w * c, &|n, image| {
            image.fill(T::zero());
            let grad = &inputs[0].real[n * height * width * c..][..height * width * c];
            context.host.with_scratch(c, &mut |share| {
                for (at, grad) in grad.chunks_exact(c).enumerate() {
                    let (p, q) = (at / width, at % width);
                    let divisor = boxes.divisor(p, q);
                    share.iter_mut().zip(grad).for_each(|(share, dy)| *share = *dy / divisor);
                    for line in boxes.lines(p, q, w) {
                        for pixel in image[line.start * c..line.end * c].chunks_exact_mut(c) {
                            pixel.iter_mut().zip(&*share).for_each(|(dx, share)| *dx += *share);
                        }
                    }
                }
            });
        });
    }
}
