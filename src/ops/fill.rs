//! `torch.full`: a constant tensor, such as the gradient of a loss with respect to itself.

use super::{Operator, Sample};
use crate::graph::{Context, Lower, Op, Real, Slot, TensorDesc, View, ViewMut};
use crate::tensor::Shape;
use crate::cpu_kernel;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "fill",
    summary: "a constant tensor (torch.full)",
    shader: shader!("fill"),
    layer: None,
    samples: || {
        let op = Fill { shape: [3, 7].into(), value: 2.5 };
        let sample = Sample::new("fill/matrix", vec![], move |graph, _| graph.apply(op.clone(), &[]));
        vec![sample.without_gradient().may_drop_nan()]
    },
};

/// The operator: `() -> output`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    /// Shape of the output.
    pub shape: Shape,
    /// Its elements.
    pub value: f32,
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn infer(&self, _: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![TensorDesc::f32(self.shape.clone())])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let count = self.shape.numel();
        let dispatch = lower.dispatch("fill", "forward").write("output", Slot::Output(0));
        dispatch.uniform("count", count).uniform("value", self.value).over(count);
    }

    cpu_kernel!(eval);
}

impl Fill {
    fn eval<T: Real>(&self, _: &Context<T>, _: &[View<T>], outputs: &mut [ViewMut<T>]) {
        outputs[0].real.fill(T::of(f64::from(self.value)));
    }
}
