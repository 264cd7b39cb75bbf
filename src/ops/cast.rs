//! `torch.Tensor.to(dtype)`: the same numbers as f32 or f16.

use std::sync::Arc;

use super::shared::unary::CHUNK;
use super::{Draw, Operator, Sample};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Backward, Context, Graph, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};
use crate::tensor::DType;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "cast",
    summary: "the same numbers as f32 or f16 (torch.Tensor.to)",
    shader: shader!("cast"),
    layer: None,
    samples,
};

/// The operator: `input -> output` of the element type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cast {
    /// F32 or F16.
    pub dtype: DType,
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        if !(inputs[0].dtype.is_real() && self.dtype.is_real()) {
            return Err(format!("casts floats only, not {:?} to {:?}", inputs[0].dtype, self.dtype));
        }
        Ok(vec![inputs[0].with_dtype(self.dtype)])
    }

    /// dx = dy, in the type of x; kernels that sum in f32 may have made it so already
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (grad, dtype) = (b.grad_output(), b.desc(b.input(0)).dtype);
        if b.desc(grad).dtype == dtype {
            return Ok(vec![Some(grad)]);
        }
        Ok(vec![b.when_needed(0, Cast { dtype }, &[grad])?])
    }

    fn again(&self, inputs: &[Value], _: &[Value]) -> Option<(Arc<dyn Op>, Vec<Value>)> {
        Some((Arc::new(*self), inputs.to_vec()))
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (count, from) = (lower.outputs[0].numel(), lower.inputs[0].dtype);
        lower
            .dispatch("cast", "forward")
            .read("input", Slot::Input(0))
            .write("output", Slot::Output(0))
            .uniform("count", count)
            .loads(from)
            .stores(self.dtype, false)
            .over(count.div_ceil(4));
    }

    fn takes_half(&self, _: usize, _: &[TensorDesc]) -> bool {
        true
    }

    cpu_kernel!(eval);
}

impl Cast {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let input = inputs[0].real;
        context.host.for_each_chunk(outputs[0].real, CHUNK, &|chunk, output| {
            output.copy_from_slice(&input[chunk * CHUNK..][..output.len()]);
        });
    }
}

/// `value` as `dtype`, under the name of the node whose gradients are made.
pub(crate) fn cast(b: &mut Backward<'_>, value: Value, dtype: DType) -> Result<Value> {
    if b.desc(value).dtype == dtype { Ok(value) } else { b.apply1(Cast { dtype }, &[value]) }
}

/// A graph of mixed precision ([`Graph::autocast`]).
pub fn autocast(graph: Graph) -> Graph {
    graph.autocast(|dtype| Arc::new(Cast { dtype }))
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, shape: &[usize], types: &'static [DType]| {
        let inputs = vec![(shape.to_vec(), Draw::Normal)];
        Sample::new(format!("cast/{id}"), inputs, move |graph, values| {
            let cast = |value, dtype: &DType| graph.apply1(Cast { dtype: *dtype }, &[value]);
            Ok(vec![types.iter().try_fold(values[0], cast)?])
        })
    };
    vec![
        case("to-f16-and-back", &[2, 12, 5, 7], &[DType::F16, DType::F32]),
        case("four", &[4], &[DType::F16, DType::F32]),
        case("f32", &[37], &[DType::F32]),
    ]
}
