//! What `add` and `mul` have in common: broadcasting as in PyTorch. Each names its function in Rust and in WGSL
//! (`combine`); bindings and the entry point are in `shaders/shared/binary.wgsl`.

use std::sync::Arc;

use super::broadcast::{Walk, broadcast_shape, broadcast_strides, physical_extents};
use super::simd::{Loop, vectorised};
use super::unary::CHUNK;
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Backward, Context, Lower, Op, Real, Simd, Slot, TensorDesc, Value, View, ViewMut};
use crate::tensor::Shape;

/// A function of two numbers with a gradient rule for broadcast tensors.
pub trait Combine: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The operator's stem.
    const NAME: &'static str;

    /// The function.
    fn combine<T: Real>(&self, a: T, b: T) -> T;

    /// The gradients for both inputs, before they are summed to the inputs' shapes.
    fn gradients(&self, b: &mut Backward<'_>) -> Result<[Option<Value>; 2]>;
}

/// The operator: `(a, b) -> combine(a, b)`, broadcast against each other.
#[derive(Clone, Debug, Default)]
pub struct Binary<C>(pub C);

impl<C: Combine> Op for Binary<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let shape = broadcast_shape(&inputs[0].shape, &inputs[1].shape)?;
        Ok(vec![TensorDesc::float(shape, inputs[0].dtype)])
    }

    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let grads = self.0.gradients(b)?;
        let mut summed = vec![];
        for (i, grad) in grads.into_iter().enumerate() {
            let shape = b.desc(b.input(i)).shape;
            summed.push(match grad {
                Some(grad) if b.desc(grad).shape != shape => {
                    Some(b.apply1(super::super::sum_to::SumTo { shape }, &[grad])?)
                }
                other => other,
            });
        }
        Ok(summed)
    }

    fn again(&self, inputs: &[Value], _: &[Value]) -> Option<(Arc<dyn Op>, Vec<Value>)> {
        Some((Arc::new(self.clone()), inputs.to_vec()))
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (output, dtype) = (lower.outputs[0].clone(), lower.inputs[0].dtype);
        let count = output.numel();
        let ShaderWalk { extents, a, b, fours } = ShaderWalk::new(lower.inputs, &output.shape);
        lower
            .dispatch(C::NAME, "forward")
            .read("a", Slot::Input(0))
            .read("b", Slot::Input(1))
            .write("output", Slot::Output(0))
            .uniforms(&[
                ("count", count),
                ("extent_1", extents[1]),
                ("extent_2", extents[2]),
                ("extent_3", extents[3]),
            ])
            .uniforms(&[("a_0", a[0]), ("a_1", a[1]), ("a_2", a[2]), ("a_3", a[3])])
            .uniforms(&[("b_0", b[0]), ("b_1", b[1]), ("b_2", b[2]), ("b_3", b[3])])
            .uniform("fours", fours)
            .loads(dtype)
            .stores(output.dtype, false)
            .over(count.div_ceil(4));
    }

    fn takes_half(&self, _: usize, _: &[TensorDesc]) -> bool {
        true
    }

    cpu_kernel!(eval);
}

impl<C: Combine> Binary<C> {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let shape = outputs[0].shape().clone();
        let (a, b) = (inputs[0].real, inputs[1].real);
        if inputs[0].shape() == inputs[1].shape() {
            return context.host.for_each_chunk(outputs[0].real, CHUNK, &|chunk, output| {
                let (a, b) = (&a[chunk * CHUNK..], &b[chunk * CHUNK..]);
                vectorised(|| {
                    let pairs = output.iter_mut().zip(a.iter().zip(b));
                    pairs.for_each(|(y, (a, b))| *y = self.0.combine(*a, *b));
                });
            });
        }
        let strides = [0, 1].map(|i| broadcast_strides(inputs[i].shape(), &shape));
        let walk = Walk::new(physical_extents(&shape), strides);
        context.host.for_each_chunk(outputs[0].real, CHUNK, &|chunk, output| {
            Stretched { function: &self.0, walk: &walk, a, b, first: chunk * CHUNK, output }.vectorised();
        });
    }
}

/// Elements of the output from one on, of inputs that are stretched.
struct Stretched<'a, C, T> {
    function: &'a C,
    walk: &'a Walk<2>,
    a: &'a [T],
    b: &'a [T],
    first: usize,
    output: &'a mut [T],
}

impl<C: Combine, T: Real> Loop for Stretched<'_, C, T> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Stretched { function, walk, a, b, first, mut output } = self;
        let strides = walk.inner_strides();
        for ([from_a, from_b], len) in walk.runs(first..first + output.len()) {
            let run = output.split_off_mut(..len).expect("a run lies in the output");
            let (a, b) = (&a[from_a..], &b[from_b..]);
            match strides {
                [1, 1] => {
                    for ((y, a), b) in run.iter_mut().zip(a).zip(b) {
                        *y = function.combine(*a, *b);
                    }
                }
                [1, 0] => {
                    for (y, a) in run.iter_mut().zip(a) {
                        *y = function.combine(*a, b[0]);
                    }
                }
                [0, 1] => {
                    for (y, b) in run.iter_mut().zip(b) {
                        *y = function.combine(a[0], *b);
                    }
                }
                [stride_a, stride_b] => {
                    for (i, y) in run.iter_mut().enumerate() {
                        *y = function.combine(a[i * stride_a], b[i * stride_b]);
                    }
                }
            }
        }
    }
}

/// How the shader walks both inputs in the output's physical order.
struct ShaderWalk {
    extents: [usize; 4],
    a: [usize; 4],
    b: [usize; 4],
    /// Whether four neighbours of the output belong together in the inputs too, or are stretched from one element.
    fours: bool,
}

impl ShaderWalk {
    fn new(inputs: &[TensorDesc], output: &Shape) -> ShaderWalk {
        if inputs[0].shape == inputs[1].shape {
            let (extents, row) = ([1, 1, 1, output.numel()], [0, 0, 0, 1]);
            return ShaderWalk { extents, a: row, b: row, fours: true };
        }
        let extents = physical_extents(output);
        let [a, b] = [0, 1].map(|i| broadcast_strides(&inputs[i].shape, output));
        ShaderWalk { extents, a, b, fours: extents[3].is_multiple_of(4) }
    }
}
