//! The factor of `torch.amp.GradScaler`: the gradient of a loss with respect to itself in mixed precision.

use super::{Operator, Sample};
use crate::cpu_kernel;
use crate::graph::{Context, Lower, Op, Real, Slot, TensorDesc, View, ViewMut};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "loss_scale",
    summary: "the factor that keeps f16 gradients from vanishing (torch.amp.GradScaler)",
    shader: shader!("loss_scale"),
    layer: None,
    samples: || {
        let op = LossScale { shape: [3].into() };
        let sample = Sample::new("loss_scale/vector", vec![], move |graph, _| graph.apply(op.clone(), &[]));
        vec![sample.without_gradient().may_drop_nan()]
    },
};

/// The operator: `() -> output`, whose elements are the step's scale ([`crate::graph::LossScale`]).
#[derive(Clone, Debug, PartialEq)]
pub struct LossScale {
    /// Shape of the output.
    pub shape: Shape,
}

impl Op for LossScale {
    fn name(&self) -> &'static str {
        "loss_scale"
    }

    fn infer(&self, _: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![TensorDesc::f32(self.shape.clone())])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let count = self.shape.numel();
        let dispatch = lower.dispatch("loss_scale", "forward").read("control", Slot::Control);
        dispatch.write("output", Slot::Output(0)).uniform("count", count).over(count);
    }

    cpu_kernel!(eval);
}

impl LossScale {
    fn eval<T: Real>(&self, context: &Context<T>, _: &[View<T>], outputs: &mut [ViewMut<T>]) {
        outputs[0].real.fill(T::of(f64::from(context.loss_scale)));
    }
}
