//! `torch.Tensor.sum_to_size`: sums a tensor to a smaller shape that broadcasts to it; the gradient of broadcasting.

use std::cmp::Reverse;

use super::shared::broadcast::{Walk, broadcast_shape, broadcast_strides, physical_extents};
use super::shared::simd::Loop;
use super::shared::unary::CHUNK;
use super::{Draw, Operator, Sample};
use crate::error::Result;
use crate::graph::{Backward, Context, Lower, Op, Real, Simd, Slot, TensorDesc, Value, View, ViewMut};
use crate::tensor::Shape;
use crate::cpu_kernel;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "sum_to",
    summary: "sum to a smaller shape (torch.Tensor.sum_to_size)",
    shader: shader!("sum_to", REDUCE),
    layer: None,
    samples,
};

/// The operator: `input -> output`.
#[derive(Clone, Debug, PartialEq)]
pub struct SumTo {
    /// The smaller shape.
    pub shape: Shape,
}

impl Op for SumTo {
    fn name(&self) -> &'static str {
        "sum_to"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let input = &inputs[0].shape;
        match broadcast_shape(&self.shape, input)? {
            large if large == *input => Ok(vec![TensorDesc::f32(self.shape.clone())]),
            _ => Err(format!("{input} does not sum to {}", self.shape)),
        }
    }

    /// dx = dy, broadcast
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (grad, shape) = (b.grad_output(), b.desc(b.input(0)).shape);
        let zeros = b.apply1(super::fill::Fill { shape, value: 0.0 }, &[])?;
        Ok(vec![b.when_needed(0, super::add::Add::default(), &[zeros, grad])?])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let walk = Sums::new(&lower.inputs[0].shape, &self.shape);
        let Sums { keep, sum, input, output } = walk;
        let (count, dtype) = (self.shape.numel(), lower.inputs[0].dtype);
        lower
            .dispatch("sum_to", "forward")
            .read("input", Slot::Input(0))
            .write("output", Slot::Output(0))
            .uniforms(&[("count", count), ("sum_count", sum.iter().product())])
            .uniforms(&[("keep_1", keep[1]), ("keep_2", keep[2]), ("keep_3", keep[3])])
            .uniforms(&[("sum_1", sum[1]), ("sum_2", sum[2]), ("sum_3", sum[3])])
            .uniforms(&[("in_0", input[0]), ("in_1", input[1]), ("in_2", input[2]), ("in_3", input[3])])
            .uniforms(&[("out_0", output[0]), ("out_1", output[1]), ("out_2", output[2]), ("out_3", output[3])])
            .loads(dtype)
            .groups(count);
    }

    fn takes_half(&self, _: usize, _: &[TensorDesc]) -> bool {
        true
    }

    cpu_kernel!(eval);
}

impl SumTo {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        /// Sums that share a cache line.
        const LINE: usize = 16;
        let walk = Sums::new(inputs[0].shape(), &self.shape);
        let kept = walk.kept();
        let summed = Walk::new(walk.sum, [walk.input]);
        let output = &mut outputs[0].real[..];
        let chunk = output.len().div_ceil(context.host.threads()).next_multiple_of(LINE).min(CHUNK);
        context.host.for_each_chunk(output, chunk, &|i, output| {
            let (kept, summed, input) = (&kept, &summed, inputs[0].real);
            SomeSums { kept, summed, input, first: i * chunk, output }.vectorised();
        });
    }
}

/// Sums of the output from one on. Each adds its terms in the order in which they lie in memory.
struct SomeSums<'a, T> {
    kept: &'a Walk<1>,
    summed: &'a Walk<1>,
    input: &'a [T],
    first: usize,
    output: &'a mut [T],
}

impl<T: Real> Loop for SomeSums<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let SomeSums { kept, summed, input, first, mut output } = self;
        let ([stride], [step], count) = (kept.inner_strides(), summed.inner_strides(), summed.len());
        for ([from], len) in kept.runs(first..first + output.len()) {
            let sums = output.split_off_mut(..len).expect("a run lies in the output");
            sums.fill(-T::zero());
            for ([offset], terms) in summed.runs(0..count) {
                let input = &input[from + offset..];
                if stride == 1 {
                    for term in 0..terms {
                        for (sum, x) in sums.iter_mut().zip(&input[term * step..]) {
                            *sum += *x;
                        }
                    }
                    continue;
                }
                for (i, sum) in sums.iter_mut().enumerate() {
                    for term in 0..terms {
                        *sum += input[i * stride + term * step];
                    }
                }
            }
        }
    }
}

/// How the input is walked: extents that are kept and that are summed, with the strides of both tensors.
struct Sums {
    keep: [usize; 4],
    sum: [usize; 4],
    input: [usize; 4],
    output: [usize; 4],
}

impl Sums {
    fn new(input: &Shape, output: &Shape) -> Sums {
        let extents = physical_extents(input);
        let output_strides = broadcast_strides(output, input);
        let [_, e1, e2, e3] = extents;
        let kept: [bool; 4] = output_strides.map(|stride| stride != 0);
        Sums {
            keep: std::array::from_fn(|i| if kept[i] { extents[i] } else { 1 }),
            sum: std::array::from_fn(|i| if kept[i] { 1 } else { extents[i] }),
            input: [e1 * e2 * e3, e2 * e3, e3, 1],
            output: output_strides,
        }
    }

    /// The dimensions that are kept, in the order in which they lie in the output.
    fn kept(&self) -> Walk<1> {
        let mut order = [0, 1, 2, 3];
        order.sort_by_key(|dim| Reverse(self.output[*dim]));
        Walk::new(order.map(|dim| self.keep[dim]), [order.map(|dim| self.input[dim])])
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: &[usize], output: &[usize]| {
        let op = SumTo { shape: output.into() };
        let inputs = vec![(input.to_vec(), Draw::Normal)];
        Sample::new(format!("sum_to/{id}"), inputs, move |graph, values| graph.apply(op.clone(), values))
    };
    vec![
        case("channels", &[3, 5, 7, 11], &[5, 1, 1]),
        case("pixels", &[3, 5, 7, 11], &[3, 1, 7, 11]),
        case("pixels-of-four", &[3, 8, 5, 7], &[3, 8, 1, 1]),
        case("scalar", &[9, 13], &[]),
        case("columns", &[71, 3], &[3]),
    ]
}
