//! `torch.cat(inputs, dim=1)`: tensors side by side along their channels.

use super::shared::unary::CHUNK;
use super::{Draw, Operator, Sample};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Backward, Context, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "concat",
    summary: "tensors joined along the channels (torch.cat, dim 1)",
    shader: shader!("concat"),
    layer: None,
    samples,
};

/// The operator: `(a, b, ...) -> output`, `[N, C1, ...], [N, C2, ...], ... -> [N, C1 + C2 + ..., ...]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Concat;

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let Some((first, others)) = inputs.split_first() else {
            return Err("takes at least one input".to_string());
        };
        let (first, dtype) = (&first.shape, first.dtype);
        if first.len() < 2 {
            return Err(format!("inputs must be [N, C, ...], the first is {first}"));
        }
        let mut dims = first.to_vec();
        for (number, TensorDesc { shape, .. }) in (2..).zip(others) {
            let same = shape.len() == first.len() && shape[0] == first[0] && shape[2..] == first[2..];
            if !same {
                return Err(format!(
                    "inputs may differ only in their channels, the first is {first}, input {number} is {shape}"
                ));
            }
            dims[1] += shape[1];
        }
        Ok(vec![TensorDesc::float(dims, dtype)])
    }

    /// dx_i = the channels of dy that x_i became
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (grad, mut first_channel) = (b.grad_output(), 0);
        let mut grads = vec![];
        for (i, input) in b.inputs().into_iter().enumerate() {
            let shape = b.desc(input).shape;
            let channels = shape[1];
            grads.push(b.when_needed(i, ConcatGrad { shape, first_channel }, &[grad])?);
            first_channel += channels;
        }
        Ok(grads)
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (inputs, whole) = (lower.inputs, row(&lower.outputs[0].shape));
        let mut first = 0;
        for (i, input) in inputs.iter().enumerate() {
            let part = row(&input.shape);
            let [from, to] = [Row { first: 0, len: part }, Row { first, len: whole }];
            lower_copy(lower, Slot::Input(i), input, [from, to], part);
            first += part;
        }
    }

    fn takes_half(&self, _: usize, inputs: &[TensorDesc]) -> bool {
        inputs.iter().all(TensorDesc::allows_half)
    }

    cpu_kernel!(eval);
}

impl Concat {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let whole = row(outputs[0].shape());
        let rows = (CHUNK / whole).max(1);
        context.host.for_each_chunk(outputs[0].real, rows * whole, &|chunk, output| {
            let mut first = 0;
            for input in inputs {
                let part = row(input.shape());
                let input = input.real[chunk * rows * part..].chunks_exact(part);
                for (output, input) in output.chunks_exact_mut(whole).zip(input) {
                    output[first..first + part].copy_from_slice(input);
                }
                first += part;
            }
        });
    }
}

/// The gradient for one input: `grad_output -> output` of `shape`, from `first_channel` on.
#[derive(Clone, Debug, PartialEq)]
struct ConcatGrad {
    shape: Shape,
    first_channel: usize,
}

impl Op for ConcatGrad {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn pass(&self) -> &'static str {
        "grad_input"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![TensorDesc::float(self.shape.clone(), inputs[0].dtype)])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (part, whole) = (row(&self.shape), row(&lower.inputs[0].shape));
        let [from, to] = [Row { first: self.first(), len: whole }, Row { first: 0, len: part }];
        let grad_output = &lower.inputs[0];
        lower_copy(lower, Slot::Input(0), grad_output, [from, to], part);
    }

    fn takes_half(&self, _: usize, inputs: &[TensorDesc]) -> bool {
        inputs[0].allows_half() && [self.first(), row(&self.shape)].iter().all(|len| len.is_multiple_of(4))
    }

    cpu_kernel!(eval);
}

impl ConcatGrad {
    /// The first element of a row that belongs to this input.
    fn first(&self) -> usize {
        self.first_channel * (row(&self.shape) / self.shape[1])
    }

    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let (part, whole, first) = (row(&self.shape), row(inputs[0].shape()), self.first());
        let rows = (CHUNK / part).max(1);
        context.host.for_each_chunk(outputs[0].real, rows * part, &|chunk, output| {
            let grad = inputs[0].real[chunk * rows * whole..].chunks_exact(whole);
            for (output, grad) in output.chunks_exact_mut(part).zip(grad) {
                output.copy_from_slice(&grad[first..first + part]);
            }
        });
    }
}

/// Where a part begins in rows of `len` elements.
#[derive(Clone, Copy)]
struct Row {
    first: usize,
    len: usize,
}

/// Adds the dispatch that copies `part` elements of every row.
fn lower_copy(lower: &mut Lower<'_>, slot: Slot, input: &TensorDesc, [from, to]: [Row; 2], part: usize) {
    let output = lower.outputs[0].dtype;
    let four = [from.first, from.len, to.first, to.len, part].iter().all(|len| len.is_multiple_of(4));
    let (rows, pieces) = (input.numel() / from.len, if four { part / 4 } else { part });
    lower
        .dispatch("concat", "copy_rows")
        .read("input", slot)
        .write("output", Slot::Output(0))
        .uniforms(&[("count", rows * pieces), ("pieces", pieces)])
        .uniforms(&[("from_first", from.first), ("from_len", from.len)])
        .uniforms(&[("to_first", to.first), ("to_len", to.len)])
        .lanes(input.dtype, output, four)
        .over(rows * pieces);
}

/// Consecutive elements of a row in memory: the channels of a pixel, or a sample that is no image.
fn row(shape: &Shape) -> usize {
    if shape.len() == 4 { shape[1] } else { shape[1..].iter().product() }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, shapes: &[&[usize]]| {
        let inputs = shapes.iter().map(|shape| (shape.to_vec(), Draw::Normal)).collect();
        Sample::new(format!("concat/{id}"), inputs, |graph, values| graph.apply(Concat, values))
    };
    let eight: Vec<Vec<usize>> = (1..=8).map(|channels| vec![2, channels, 1, 2]).collect();
    let eight: Vec<&[usize]> = eight.iter().map(Vec::as_slice).collect();
    vec![
        case("two", &[&[2, 3, 3, 5], &[2, 5, 3, 5]]),
        case("of-four", &[&[2, 4, 3, 5], &[2, 8, 3, 5]]),
        case("four-and-others", &[&[2, 3, 3, 1], &[2, 4, 3, 1], &[2, 1, 3, 1]]),
        case("three", &[&[1, 1, 3, 1], &[1, 17, 3, 1], &[1, 6, 3, 1]]),
        case("eight", &eight),
        case("pixel", &[&[1, 1, 1, 1], &[1, 1, 1, 1]]),
        case("matrices", &[&[3, 5], &[3, 7]]),
        case("tokens", &[&[3, 2, 7], &[3, 3, 7]]),
    ]
}
