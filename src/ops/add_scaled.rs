//! `torch.add` with factors: alpha a + beta b.

use super::{Draw, Operator, Sample};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Backward, Context, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "add_scaled",
    summary: "alpha a + beta b (torch.add, alpha=)",
    shader: shader!("add_scaled"),
    layer: None,
    samples,
};

/// The operator: `(a, b) -> alpha a + beta b`, all of one shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AddScaled {
    /// Factor on the first.
    pub alpha: f32,
    /// Factor on the second.
    pub beta: f32,
}

impl Op for AddScaled {
    fn name(&self) -> &'static str {
        "add_scaled"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let [a, b] = [0, 1].map(|i| &inputs[i].shape);
        if a != b {
            return Err(format!("takes two tensors of one shape, the inputs are {a} and {b}"));
        }
        Ok(vec![TensorDesc::f32(a.clone())])
    }

    /// da = alpha dy, db = beta dy
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let grad = b.grad_output();
        let scaled = |alpha| AddScaled { alpha, beta: 0.0 };
        Ok(vec![
            b.when_needed(0, scaled(self.alpha), &[grad, grad])?,
            b.when_needed(1, scaled(self.beta), &[grad, grad])?,
        ])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let count = lower.outputs[0].numel();
        lower
            .dispatch("add_scaled", "forward")
            .read("a", Slot::Input(0))
            .read("b", Slot::Input(1))
            .write("output", Slot::Output(0))
            .uniform("count", count)
            .uniform("alpha", self.alpha)
            .uniform("beta", self.beta)
            .over(count);
    }

    cpu_kernel!(eval);
}

impl AddScaled {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        const CHUNK: usize = 16_384;
        let [alpha, beta] = [self.alpha, self.beta].map(|factor| T::of(f64::from(factor)));
        let (a, b) = (inputs[0].real, inputs[1].real);
        context.host.for_each_chunk(outputs[0].real, CHUNK, &|chunk, output| {
            let pairs = a[chunk * CHUNK..].iter().zip(&b[chunk * CHUNK..]);
            output.iter_mut().zip(pairs).for_each(|(y, (a, b))| *y = alpha * *a + beta * *b);
        });
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, shape: &[usize], alpha, beta| {
        let inputs = vec![(shape.to_vec(), Draw::Normal), (shape.to_vec(), Draw::Normal)];
        let op = AddScaled { alpha, beta };
        Sample::new(format!("add_scaled/{id}"), inputs, move |graph, values| graph.apply(op, values))
    };
    vec![case("matrix", &[7, 13], 3.4445, -4.775), case("image", &[3, 5, 7, 2], 1.0, 0.5)]
}
