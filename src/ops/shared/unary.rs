//! What the elementwise activations have in common: each names a function and its derivative, in Rust and in WGSL
//! (`activation`, `derivative`); bindings and entry points are in `shaders/shared/unary.wgsl`.

use std::sync::Arc;

use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Backward, Context, Graph, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};

use super::super::fill::Fill;
use super::super::mul::Mul;
use super::super::{Draw, Sample};
use super::simd::vectorised;

/// Elements of a parallel piece of elementwise work.
pub(crate) const CHUNK: usize = 16_384;

/// An elementwise activation.
pub trait Activation: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The operator's stem.
    const NAME: &'static str;

    /// Its arguments, as the shader's `params.alpha` and `params.beta`.
    fn arguments(&self) -> [f32; 2] {
        [0.0; 2]
    }

    /// y = f(x)
    fn value<T: Real>(&self, x: T) -> T;

    /// dy/dx
    fn derivative<T: Real>(&self, x: T) -> T;
}

/// The operator of an activation: `input -> f(input)`.
#[derive(Clone, Debug)]
pub struct Unary<A>(pub A);

/// Its gradient: `(grad_output, input[, more]) -> (grad_output + more) f'(input)`; the third input is there where fusion has
/// found that the gradient is a sum.
#[derive(Clone, Debug)]
pub(crate) struct UnaryGrad<A>(pub(crate) A);

impl<A: Activation> Op for Unary<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![inputs[0].clone()])
    }

    /// dx = dy f'(x)
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (grad, input) = (b.grad_output(), b.input(0));
        Ok(vec![b.when_needed(0, UnaryGrad(self.0.clone()), &[grad, input])?])
    }

    fn again(&self, inputs: &[Value], _: &[Value]) -> Option<(Arc<dyn Op>, Vec<Value>)> {
        Some((Arc::new(self.clone()), inputs.to_vec()))
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (count, dtype) = (lower.outputs[0].numel(), lower.outputs[0].dtype);
        let [alpha, beta] = self.0.arguments();
        lower
            .dispatch(A::NAME, "forward")
            .read("input", Slot::Input(0))
            .write("output", Slot::Output(0))
            .uniform("count", count)
            .uniform("alpha", alpha)
            .uniform("beta", beta)
            .loads(dtype)
            .stores(dtype, false)
            .over(count.div_ceil(4));
    }

    fn takes_half(&self, _: usize, _: &[TensorDesc]) -> bool {
        true
    }

    cpu_kernel!(eval);
}

impl<A: Activation> Unary<A> {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let input = inputs[0].real;
        context.host.for_each_chunk(outputs[0].real, CHUNK, &|chunk, output| {
            let input = &input[chunk * CHUNK..];
            vectorised(|| output.iter_mut().zip(input).for_each(|(y, x)| *y = self.0.value(*x)));
        });
    }
}

impl<A: Activation> Op for UnaryGrad<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn pass(&self) -> &'static str {
        "grad_input"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![inputs[1].clone()])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (count, dtype) = (lower.outputs[0].numel(), lower.outputs[0].dtype);
        let [alpha, beta] = self.0.arguments();
        let has_more = lower.inputs.len() == 3;
        lower
            .dispatch(A::NAME, "grad_input")
            .read("grad_output", Slot::Input(0))
            .read("input", Slot::Input(1))
            .read("more", Slot::Input(if has_more { 2 } else { 0 }))
            .uniform("has_more", has_more)
            .write("output", Slot::Output(0))
            .uniform("count", count)
            .uniform("alpha", alpha)
            .uniform("beta", beta)
            .loads(dtype)
            .stores(dtype, false)
            .over(count.div_ceil(4));
    }

    fn takes_half(&self, _: usize, _: &[TensorDesc]) -> bool {
        true
    }

    cpu_kernel!(eval);
}

impl<A: Activation> UnaryGrad<A> {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let (grad, input) = (inputs[0].real, inputs[1].real);
        let more = inputs.get(2).map(|more| more.real);
        context.host.for_each_chunk(outputs[0].real, CHUNK, &|chunk, output| {
            let (grad, input) = (&grad[chunk * CHUNK..], &input[chunk * CHUNK..]);
            let more = more.map(|more| &more[chunk * CHUNK..]);
            vectorised(|| {
                let pairs = grad.iter().zip(input);
                if let Some(more) = more {
                    let sum = |((dy, x), more): ((&T, &T), &T)| (*dy + *more) * self.0.derivative(*x);
                    return output.iter_mut().zip(pairs.zip(more)).for_each(|(dx, terms)| *dx = sum(terms));
                }
                output.iter_mut().zip(pairs).for_each(|(dx, (dy, x))| *dx = *dy * self.0.derivative(*x));
            });
        });
    }
}

/// Applies an activation in the graph's scope.
pub(crate) fn build<A: Activation>(activation: &A, graph: &mut Graph, input: Value) -> Result<Value> {
    graph.apply1(Unary(activation.clone()), &[input])
}

/// 1 / (1 + exp(-x)), from an exponential that cannot overflow; 1 - sigmoid(x) is sigmoid(-x).
pub(crate) fn sigmoid<T: Real>(x: T) -> T {
    let e = (-x.abs()).exp();
    let numerator = if x >= T::zero() { T::one() } else { e };
    numerator / (T::one() + e)
}

/// 1 - tanh(x)^2, without cancellation.
pub(crate) fn sech_squared<T: Real>(x: T) -> T {
    let e = (T::of(-2.0) * x.abs()).exp();
    let sum = T::one() + e;
    T::of(4.0) * e / (sum * sum)
}

/// Samples of an activation: an image batch, one element, a matrix, and a row that reaches to where an exponential
/// overflows.
pub(crate) fn samples<A: Activation>(activation: A) -> Vec<Sample> {
    let case = |id: &str, shape: &[usize]| sample(id, shape, activation.clone());
    let op = Unary(activation.clone());
    let inputs = vec![(vec![2, 65], Draw::Distinct)];
    let wide = Sample::new(format!("{}/wide", A::NAME), inputs, move |graph, values| {
        let scale = graph.apply1(Fill { shape: [].into(), value: 20.0 }, &[])?;
        let input = graph.apply1(Mul::default(), &[values[0], scale])?;
        graph.apply(op.clone(), &[input])
    });
    vec![
        case("image", &[2, 3, 5, 7]),
        case("channels-of-four", &[2, 8, 3, 5]),
        case("one", &[1]),
        case("matrix", &[3, 37]),
        wide,
    ]
}

/// One sample of an activation, away from kinks.
pub(crate) fn sample<A: Activation>(id: &str, shape: &[usize], activation: A) -> Sample {
    let op = Unary(activation);
    Sample::new(format!("{}/{id}", A::NAME), vec![(shape.to_vec(), Draw::Distinct)], move |graph, values| {
        graph.apply(op.clone(), values)
    })
}
