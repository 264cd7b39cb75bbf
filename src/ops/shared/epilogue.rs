//! Activations that an operator applies to its result before storing it. `shaders/shared/epilogue.wgsl` is the same
//! table.

use std::sync::Arc;

use super::unary::{Activation, CHUNK, Unary, UnaryGrad};
use crate::error::Result;
use crate::graph::{Backward, DispatchBuilder, Graph, Host, Op, Real, Value};
use crate::ops::hardswish::Hardswish;
use crate::ops::leaky_relu::LeakyRelu;
use crate::ops::relu::Relu;
use crate::ops::relu6::Relu6;
use crate::ops::silu::Silu;

/// An elementwise function at the end of a kernel, cheap enough to be computed again in the backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Epilogue {
    /// `relu`
    Relu,
    /// `leaky_relu` of a positive slope.
    LeakyRelu {
        /// Slope where x < 0.
        negative_slope: f32,
    },
    /// `relu6`
    Relu6,
    /// `silu`
    Silu,
    /// `hardswish`
    Hardswish,
}

impl Epilogue {
    /// The activation of a node, if it is one that can be an epilogue.
    pub(crate) fn of(graph: &Graph, node: usize) -> Option<Epilogue> {
        let leaky = graph.op_at::<Unary<LeakyRelu>>(node).map(|leaky| leaky.0.negative_slope);
        match () {
            () if graph.op_at::<Unary<Relu>>(node).is_some() => Some(Epilogue::Relu),
            () if graph.op_at::<Unary<Relu6>>(node).is_some() => Some(Epilogue::Relu6),
            () if graph.op_at::<Unary<Silu>>(node).is_some() => Some(Epilogue::Silu),
            () if graph.op_at::<Unary<Hardswish>>(node).is_some() => Some(Epilogue::Hardswish),
            // The result of a negative slope does not tell the sign of x.
            () => leaky
                .filter(|slope| *slope > 0.0)
                .map(|negative_slope| Epilogue::LeakyRelu { negative_slope }),
        }
    }

    /// The operator of dy f'(x) at a node, if it is that of an activation that can be an epilogue.
    pub(crate) fn gradient_at(graph: &Graph, node: usize) -> Option<Arc<dyn Op>> {
        fn of<A: Activation>(graph: &Graph, node: usize) -> Option<Arc<dyn Op>> {
            graph.op_at::<UnaryGrad<A>>(node).map(|op| Arc::new(op.clone()) as Arc<dyn Op>)
        }
        of::<Relu>(graph, node)
            .or_else(|| of::<LeakyRelu>(graph, node))
            .or_else(|| of::<Relu6>(graph, node))
            .or_else(|| of::<Silu>(graph, node))
            .or_else(|| of::<Hardswish>(graph, node))
    }

    /// Whether the derivative at y = f(x) is that at x, so that backward needs only the result.
    pub(crate) fn result_tells(self) -> bool {
        matches!(self, Epilogue::Relu | Epilogue::LeakyRelu { .. } | Epilogue::Relu6)
    }

    /// The gradient that arrives at a node's first output, before its epilogue.
    pub(crate) fn undone(epilogue: Option<Epilogue>, b: &mut Backward<'_>) -> Result<Value> {
        let (grad, result) = (b.grad_output(), b.output(0));
        epilogue.map_or(Ok(grad), |epilogue| epilogue.gradient(b, grad, result))
    }

    /// Adds the node of dy f'(x), found from y = f(x); for an epilogue whose result tells.
    pub(crate) fn gradient(self, b: &mut Backward<'_>, grad: Value, result: Value) -> Result<Value> {
        match self {
            Epilogue::Relu => b.apply1(UnaryGrad(Relu {}), &[grad, result]),
            Epilogue::LeakyRelu { negative_slope } => {
                b.apply1(UnaryGrad(LeakyRelu { negative_slope }), &[grad, result])
            }
            Epilogue::Relu6 => b.apply1(UnaryGrad(Relu6 {}), &[grad, result]),
            Epilogue::Silu | Epilogue::Hardswish => unreachable!("callers ask result_tells"),
        }
    }

    /// [`Epilogue::apply`] to a whole tensor.
    pub(crate) fn apply_to_all<T: Real>(self, host: &dyn Host<T>, values: &mut [T]) {
        host.for_each_chunk(values, CHUNK, &|_, values| self.apply(values));
    }

    /// y = f(x), in place.
    #[inline(always)]
    pub(crate) fn apply<T: Real>(self, values: &mut [T]) {
        match self {
            Epilogue::Relu => map(values, |x| Relu {}.value(x)),
            Epilogue::LeakyRelu { negative_slope } => map(values, |x| LeakyRelu { negative_slope }.value(x)),
            Epilogue::Relu6 => map(values, |x| Relu6 {}.value(x)),
            Epilogue::Silu => map(values, |x| Silu {}.value(x)),
            Epilogue::Hardswish => map(values, |x| Hardswish {}.value(x)),
        }
    }

    /// dy/dx in the place of x.
    #[inline(always)]
    pub(crate) fn derive<T: Real>(self, values: &mut [T]) {
        match self {
            Epilogue::Relu => map(values, |x| Relu {}.derivative(x)),
            Epilogue::LeakyRelu { negative_slope } => {
                map(values, |x| LeakyRelu { negative_slope }.derivative(x))
            }
            Epilogue::Relu6 => map(values, |x| Relu6 {}.derivative(x)),
            Epilogue::Silu => map(values, |x| Silu {}.derivative(x)),
            Epilogue::Hardswish => map(values, |x| Hardswish {}.derivative(x)),
        }
    }

    /// Tells the shader, whose file has the snippet `EPILOGUE`, what its epilogue is.
    pub(crate) fn constants<'l, 'a>(
        epilogue: Option<Epilogue>,
        dispatch: DispatchBuilder<'l, 'a>,
    ) -> DispatchBuilder<'l, 'a> {
        let (number, argument) = match epilogue {
            None => (0u32, 0.0),
            Some(Epilogue::Relu) => (1, 0.0),
            Some(Epilogue::LeakyRelu { negative_slope }) => (2, negative_slope),
            Some(Epilogue::Relu6) => (3, 0.0),
            Some(Epilogue::Silu) => (4, 0.0),
            Some(Epilogue::Hardswish) => (5, 0.0),
        };
        dispatch.constant("EPILOGUE", number).constant("EPILOGUE_ARGUMENT", argument)
    }
}

#[inline(always)]
fn map<T: Real>(values: &mut [T], f: impl Fn(T) -> T) {
    for value in values {
        *value = f(*value);
    }
}
