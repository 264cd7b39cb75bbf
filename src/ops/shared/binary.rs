//! What `add` and `mul` have in common: broadcasting as in PyTorch. Each names its function in Rust and in WGSL
//! (`combine`); bindings and the entry point are in `shaders/shared/binary.wgsl`.

use std::sync::Arc;

use super::simd::vectorised;
use super::unary::CHUNK;
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Backward, Context, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};
use crate::tensor::{Layout, Shape};

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
        let Walk { extents, a, b, fours } = Walk::new(lower.inputs, &output.shape);
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
        let extents = physical_extents(&shape);
        let a_strides = broadcast_strides(inputs[0].shape(), &shape);
        let b_strides = broadcast_strides(inputs[1].shape(), &shape);
        context.host.for_each_chunk(outputs[0].real, CHUNK, &|chunk, output| {
            for (i, y) in output.iter_mut().enumerate() {
                let at = coordinates(chunk * CHUNK + i, extents);
                *y = self.0.combine(a[offset(at, a_strides)], b[offset(at, b_strides)]);
            }
        });
    }
}

/// How the shader walks both inputs in the output's physical order.
struct Walk {
    extents: [usize; 4],
    a: [usize; 4],
    b: [usize; 4],
    /// Whether four neighbours of the output belong together in the inputs too, or are stretched from one element.
    fours: bool,
}

impl Walk {
    fn new(inputs: &[TensorDesc], output: &Shape) -> Walk {
        if inputs[0].shape == inputs[1].shape {
            let (extents, row) = ([1, 1, 1, output.numel()], [0, 0, 0, 1]);
            return Walk { extents, a: row, b: row, fours: true };
        }
        let extents = physical_extents(output);
        let [a, b] = [0, 1].map(|i| broadcast_strides(&inputs[i].shape, output));
        Walk { extents, a, b, fours: extents[3].is_multiple_of(4) }
    }
}

/// The shape of two tensors broadcast against each other (aligned at the last dimension; 1 stretches).
pub(crate) fn broadcast_shape(a: &Shape, b: &Shape) -> Result<Shape, String> {
    let rank = a.len().max(b.len());
    if rank > 4 {
        return Err(format!("takes at most 4 dimensions, the inputs are {a} and {b}"));
    }
    let dim = |shape: &Shape, i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let dims = (0..rank).map(|i| match (dim(a, i), dim(b, i)) {
        (x, y) if x == y || y == 1 => Ok(x),
        (1, y) => Ok(y),
        _ => Err(format!("{a} and {b} cannot be broadcast against each other")),
    });
    Ok(Shape::from(dims.collect::<Result<Vec<usize>, String>>()?))
}

/// Logical dimension at each of four physical positions of a tensor of `rank`; positions before the rank are padding.
fn physical_order(rank: usize) -> [Option<usize>; 4] {
    match rank {
        4 => [Some(0), Some(2), Some(3), Some(1)],
        _ => std::array::from_fn(|i| (i + rank).checked_sub(4)),
    }
}

/// Sizes of four dimensions in physical order, outermost first.
pub(crate) fn physical_extents(shape: &Shape) -> [usize; 4] {
    physical_order(shape.len()).map(|dim| dim.map_or(1, |dim| shape[dim]))
}

/// Strides with which `small`, broadcast to `large`, is walked in `large`'s physical order.
pub(crate) fn broadcast_strides(small: &Shape, large: &Shape) -> [usize; 4] {
    let layout = Layout::of(small);
    physical_order(large.len()).map(|dim| {
        let own = dim.and_then(|dim| (dim + small.len()).checked_sub(large.len()));
        own.map_or(0, |own| if small[own] == 1 { 0 } else { layout.strides()[own] })
    })
}

/// The four coordinates of the `i`-th element.
pub(crate) fn coordinates(i: usize, extents: [usize; 4]) -> [usize; 4] {
    let [_, e1, e2, e3] = extents;
    [i / (e1 * e2 * e3), i / (e2 * e3) % e1, i / e3 % e2, i % e3]
}

/// The element at these coordinates.
pub(crate) fn offset(at: [usize; 4], strides: [usize; 4]) -> usize {
    at.iter().zip(strides).map(|(at, stride)| at * stride).sum()
}
