//! LAMB, as `timm.optim.Lamb` without its own clipping. `shaders/lamb.wgsl` is the same rule.

use super::Adam;
use crate::error::Result;
use crate::graph::{GradientRule, Graph, Parameter, Pass, Real, Scalar, Update, UpdatePage, Value};
use crate::ops::scale_by_norm::{Rule, ScaleByNorm};

/// LAMB (You et al., Large Batch Optimization for Deep Learning, 2020): Adam's step, scaled for each tensor by the ratio
/// of the weight's norm to its own. As in timm, tensors without weight decay are not scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lamb {
    /// Decay of the running averages of the gradient and of its square.
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub eps: f64,
}

impl Lamb {
    fn adam(&self) -> Adam {
        Adam { betas: self.betas, eps: self.eps, decoupled: false }
    }
}

impl Update for Lamb {
    fn name(&self) -> &'static str {
        "lamb"
    }

    fn slots(&self) -> &'static [&'static str] {
        self.adam().slots()
    }

    fn uniforms(&self) -> Vec<(&'static str, Scalar)> {
        self.adam().moment_uniforms()
    }

    fn step_numbers(&self, step: u32) -> [f32; 4] {
        self.adam().step_numbers(step)
    }

    fn passes(&self) -> &'static [Pass] {
        &[
            Pass {
                entry: "prepare",
                binds: &["parameters", "gradients", "groups", "partials", "exp_avg", "exp_avg_sq"],
            },
            Pass { entry: "update", binds: &["parameters", "gradients", "groups", "partials", "control"] },
        ]
    }

    fn direction(&self) -> Option<&dyn GradientRule> {
        Some(self)
    }

    fn update_f32(&self, page: UpdatePage<'_, f32>) {
        self.update(page);
    }

    fn update_f64(&self, page: UpdatePage<'_, f64>) {
        self.update(page);
    }
}

impl GradientRule for Lamb {
    fn apply(&self, graph: &mut Graph, parameter: Value, about: &Parameter<'_>) -> Result<Option<Value>> {
        if about.group.weight_decay == 0.0 {
            return Ok(None);
        }
        let step = graph.gradient_of(parameter, about.shape.clone());
        graph.apply1(ScaleByNorm { rule: Rule::Trust, by_row: false }, &[step, parameter]).map(Some)
    }
}

impl Lamb {
    /// First m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; d = m^ / (sqrt(v^) + eps) + decay w. Then, d
    /// times its trust ratio: w -= rate d
    fn update<T: Real>(&self, page: UpdatePage<'_, T>) {
        let (rate, decay) = (page.rate(), page.decay());
        if page.pass == 1 {
            page.parameters.iter_mut().zip(page.gradients).for_each(|(w, d)| *w -= rate * *d);
            return;
        }
        let moments = self.adam().moments(&page);
        let mut slots = page.slots.into_iter();
        let (Some(averages), Some(squares)) = (slots.next(), slots.next()) else { return };
        let state = averages.iter_mut().zip(squares);
        for ((w, grad), (m, v)) in page.parameters.iter().zip(page.gradients).zip(state) {
            let g = page.clip.of(*grad);
            let (above, below) = moments.advance(m, v, g);
            *grad = above / below + decay * *w;
        }
    }
}
