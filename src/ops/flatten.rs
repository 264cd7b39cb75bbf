//! `torch.nn.Flatten`: `[N, C, H, W]` to `[N, C H W]` in PyTorch's order, which is not the order of the memory.

use serde::{Deserialize, Serialize};

use super::{Draw, Layer, Operator, Sample, parse_layer};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Backward, Context, Graph, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "flatten",
    summary: "all dimensions but the first in one (torch.nn.Flatten)",
    shader: shader!("flatten"),
    layer: Some(parse_layer::<Flatten>),
    samples,
};

/// The layer: a matrix passes unchanged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flatten {}

impl Layer for Flatten {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        if graph.shape(input).len() == 2 { Ok(input) } else { graph.apply1(ToRows, &[input]) }
    }
}

/// The operator: `input [N, ..] -> output [N, product of the others]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToRows;

/// Its gradient: `grad_output [N, ..] -> grad_input` of the shape.
#[derive(Clone, Debug, PartialEq)]
struct FromRows {
    shape: Shape,
}

impl Op for ToRows {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let input = &inputs[0].shape;
        if !(2..=4).contains(&input.len()) {
            return Err(format!("input must have 2 to 4 dimensions, it is {input}"));
        }
        Ok(vec![TensorDesc::float([input[0], input[1..].iter().product()], inputs[0].dtype)])
    }

    /// dX[n, c, h, w] = dY[n, (c, h, w)]
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (grad, shape) = (b.grad_output(), b.desc(b.input(0)).shape);
        Ok(vec![b.when_needed(0, FromRows { shape }, &[grad])?])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let [rows, columns] = pixels_and_channels(&lower.inputs[0].shape);
        lower_transpose(lower, rows, columns);
    }

    fn takes_half(&self, _: usize, _: &[TensorDesc]) -> bool {
        true
    }

    cpu_kernel!(eval);
}

impl ToRows {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let [rows, columns] = pixels_and_channels(inputs[0].shape());
        transpose(context, inputs[0].real, outputs[0].real, rows, columns);
    }
}

impl Op for FromRows {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn pass(&self) -> &'static str {
        "grad_input"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![TensorDesc::float(self.shape.clone(), inputs[0].dtype)])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let [columns, rows] = pixels_and_channels(&self.shape);
        lower_transpose(lower, rows, columns);
    }

    fn takes_half(&self, _: usize, _: &[TensorDesc]) -> bool {
        true
    }

    cpu_kernel!(eval);
}

impl FromRows {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let [columns, rows] = pixels_and_channels(&self.shape);
        transpose(context, inputs[0].real, outputs[0].real, rows, columns);
    }
}

/// A sample as a matrix: H W and C of an image; all other ranks are in PyTorch's order already.
fn pixels_and_channels(shape: &Shape) -> [usize; 2] {
    match shape.as_4d() {
        Some([_, c, h, w]) => [h * w, c],
        None => [1, shape[1..].iter().product()],
    }
}

fn lower_transpose(lower: &mut Lower<'_>, rows: usize, columns: usize) {
    let (count, from, to) = (lower.outputs[0].numel(), lower.inputs[0].dtype, lower.outputs[0].dtype);
    lower
        .dispatch("flatten", "transpose_samples")
        .read("input", Slot::Input(0))
        .write("output", Slot::Output(0))
        .uniforms(&[("rows", rows), ("columns", columns), ("count", count)])
        .loads(from)
        .stores(to, false)
        .over(count.div_ceil(4));
}

/// `output[n, column, row] = input[n, row, column]`
fn transpose<T: Real>(context: &Context<T>, input: &[T], output: &mut [T], rows: usize, columns: usize) {
    let sample = rows * columns;
    context.host.for_each_chunk(output, sample, &|n, output| {
        let input = &input[n * sample..][..sample];
        for (column, line) in output.chunks_exact_mut(rows).enumerate() {
            let source = input[column..].iter().step_by(columns);
            line.iter_mut().zip(source).for_each(|(to, from)| *to = *from);
        }
    });
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: &[usize]| {
        let inputs = vec![(input.to_vec(), Draw::Normal)];
        Sample::new(format!("flatten/{id}"), inputs, |graph, values| graph.apply(ToRows, values))
    };
    vec![
        case("image", &[2, 3, 5, 7]),
        case("channels-of-four", &[2, 8, 5, 3]),
        case("batch-1-pixel-1", &[1, 1, 1, 1]),
        case("one-channel", &[3, 1, 5, 3]),
        case("one-pixel", &[3, 7, 1, 1]),
        case("tokens", &[3, 5, 7]),
        case("matrix", &[5, 13]),
    ]
}
