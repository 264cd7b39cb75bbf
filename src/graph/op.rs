use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use super::{Backward, Context, Lower, TensorDesc, Value, View, ViewMut};
use crate::error::Result;

/// An operator: shape rule, gradient rule, GPU dispatches and CPU kernel, all in one impl.
///
/// Gradient operators are ordinary operators. A struct that serves both passes tells them apart by [`Op::pass`].
pub trait Op: Any + Debug + Send + Sync {
    /// The operator's stem: the name of its Rust file, its shader and its line in the registry.
    fn name(&self) -> &'static str;

    /// `forward`, `grad_input`, ...: which of the operator's passes this is.
    fn pass(&self) -> &'static str {
        "forward"
    }

    /// Shapes of the outputs, or what does not fit (with both shapes).
    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String>;

    /// Adds the nodes of the gradients with respect to the inputs; `None` where there is none.
    fn backward(&self, _: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![])
    }

    /// Adds the dispatches that compute the outputs on a GPU.
    fn lower(&self, lower: &mut Lower<'_>);

    /// Computes the outputs on the host in f32. Write one generic kernel and let [`crate::cpu_kernel!`] make both.
    fn eval_f32(
        &self,
        context: &Context<'_, f32>,
        inputs: &[View<'_, f32>],
        outputs: &mut [ViewMut<'_, f32>],
    );

    /// Computes the outputs on the host in f64, as the reference.
    fn eval_f64(
        &self,
        context: &Context<'_, f64>,
        inputs: &[View<'_, f64>],
        outputs: &mut [ViewMut<'_, f64>],
    );

    /// Whether the kernels take input `i` as [`crate::tensor::DType::F16`] too, for inputs of these shapes (whose types may
    /// still change); all that they so take are of one type. On the CPU nothing changes: the executor rounds what is stored.
    fn takes_half(&self, _input: usize, _inputs: &[TensorDesc]) -> bool {
        false
    }

    /// Whether the kernels write output `i` as F16 also if the inputs are F32. Matrix products do: in mixed precision they
    /// are given F16 and make it, wherever shapes allow that. All other operators follow their inputs by
    /// [`Op::infer`].
    fn makes_half(&self, _output: usize) -> bool {
        false
    }

    /// An operator of one output, with its inputs, that makes output 0 again in the same bits and costs little more than to
    /// read and write memory once: it may then be left out of what is kept for the backward pass. `inputs` and `outputs`
    /// are the node's.
    fn again(&self, _inputs: &[Value], _outputs: &[Value]) -> Option<(Arc<dyn Op>, Vec<Value>)> {
        None
    }

    /// Floating-point operations (a multiply-add counts two); 0 for what moves memory only.
    fn flops(&self, _inputs: &[TensorDesc], _outputs: &[TensorDesc]) -> u64 {
        0
    }
}

/// Implements `eval_f32` and `eval_f64` by one generic function
/// `fn(&self, &Context<T>, &[View<T>], &mut [ViewMut<T>])` with `T: Real`.
#[macro_export]
macro_rules! cpu_kernel {
    ($kernel:ident) => {
        fn eval_f32(
            &self,
            context: &$crate::graph::Context<'_, f32>,
            inputs: &[$crate::graph::View<'_, f32>],
            outputs: &mut [$crate::graph::ViewMut<'_, f32>],
        ) {
            self.$kernel(context, inputs, outputs)
        }

        fn eval_f64(
            &self,
            context: &$crate::graph::Context<'_, f64>,
            inputs: &[$crate::graph::View<'_, f64>],
            outputs: &mut [$crate::graph::ViewMut<'_, f64>],
        ) {
            self.$kernel(context, inputs, outputs)
        }
    };
}
