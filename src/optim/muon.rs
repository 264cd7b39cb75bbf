//! `torch.optim.Muon` for matrices and filters, AdamW for all else. `shaders/muon.wgsl` is the same rule.

use super::Adam;
use crate::error::Result;
use crate::graph::{GradientRule, Graph, Parameter, Pass, Real, Scalar, Update, UpdatePage, Value};
use crate::ops::add_scaled::AddScaled;
use crate::ops::matmul::Matmul;
use crate::ops::scale_by_norm::{Rule, ScaleByNorm};

/// Muon (Jordan et al., 2024): the running gradient of a matrix, made nearly orthogonal. A filter `[K, C, R, S]` is the
/// matrix `[K, C R S]`.
///
/// PyTorch's iteration rounds to bfloat16; this one does not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// How much of the running gradient is kept.
    pub momentum: f64,
    /// Whether to look ahead by the running gradient.
    pub nesterov: bool,
    /// Newton-Schulz iterations.
    pub ns_steps: u32,
    /// What a matrix' shape does to its learning rate.
    pub adjust_lr: AdjustLr,
    /// Whether the first and the last matrix of the network (its stem and its head) are taken as matrices too.
    pub first_and_last: bool,
    /// AdamW's, for what is no matrix.
    pub betas: [f64; 2],
    /// AdamW's.
    pub eps: f64,
}

/// The factor on the learning rate of a matrix `[A, B]`: `torch.optim.Muon`'s `adjust_lr_fn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdjustLr {
    /// `sqrt(max(1, A / B))`
    #[default]
    Original,
    /// `0.2 sqrt(max(A, B))`: steps as large as AdamW's, so that both take the same learning rate.
    MatchRmsAdamW,
}

impl AdjustLr {
    fn factor(self, [a, b]: [usize; 2]) -> f64 {
        let (a, b) = (a as f64, b as f64);
        match self {
            AdjustLr::Original if a > b => (a / b).sqrt(),
            AdjustLr::Original => 1.0,
            AdjustLr::MatchRmsAdamW => 0.2 * (if a > b { a } else { b }).sqrt(),
        }
    }
}

/// The coefficients of x, x^3 and x^5 of an iteration.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.775, 2.0315];
/// The least that a matrix is divided by at the start.
const EPS: f32 = 1e-7;

impl Muon {
    fn adam(&self) -> Adam {
        Adam { betas: self.betas, eps: self.eps, decoupled: true }
    }
}

impl Update for Muon {
    fn name(&self) -> &'static str {
        "muon"
    }

    fn slots(&self) -> &'static [&'static str] {
        &["momentum_buffer", "exp_avg_sq"]
    }

    fn uniforms(&self) -> Vec<(&'static str, Scalar)> {
        let mut uniforms = self.adam().moment_uniforms();
        uniforms.extend([
            ("momentum", (self.momentum as f32).into()),
            ("fresh", ((1.0 - self.momentum) as f32).into()),
            ("nesterov", self.nesterov.into()),
        ]);
        uniforms
    }

    fn step_numbers(&self, step: u32) -> [f32; 4] {
        self.adam().step_numbers(step)
    }

    fn passes(&self) -> &'static [Pass] {
        &[
            Pass { entry: "prepare", binds: &["gradients", "groups", "partials", "momentum_buffer"] },
            Pass {
                entry: "update",
                binds: &[
                    "parameters",
                    "gradients",
                    "groups",
                    "partials",
                    "control",
                    "momentum_buffer",
                    "exp_avg_sq",
                ],
            },
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

impl GradientRule for Muon {
    /// X = M / max(|M|, eps); then some times X = a X + (b A + c A^2) X with A = X X^T. Of a high matrix the transpose is
    /// taken, which is X = a X + X (b A + c A^2) with A = X^T X. The last step has the learning rate's factor in it.
    fn apply(&self, graph: &mut Graph, parameter: Value, about: &Parameter<'_>) -> Result<Option<Value>> {
        let is_matrix = about.shape.len() >= 2;
        if !is_matrix || !self.first_and_last && (about.first_matrix || about.last_matrix) {
            return Ok(None);
        }
        // In memory filters are K, R, S, C: a permutation of columns, under which the iteration is the same.
        let size = [about.shape[0], about.shape.numel() / about.shape[0]];
        let high = size[0] > size[1];
        let [a, b, c] = COEFFICIENTS;
        let momentum = graph.gradient_of(parameter, size);
        let mut x =
            graph.apply1(ScaleByNorm { rule: Rule::Unit { eps: EPS }, by_row: false }, &[momentum])?;
        for step in 1..=self.ns_steps {
            let factor = if step == self.ns_steps { self.adjust_lr.factor(size) } else { 1.0 };
            let gram = graph.apply1(Matmul { a_transposed: high, b_transposed: !high }, &[x, x])?;
            let square = graph.apply1(Matmul::default(), &[gram, gram])?;
            let mixed = AddScaled { alpha: b as f32, beta: c as f32 };
            let mixed = graph.apply1(mixed, &[gram, square])?;
            let factors = if high { [x, mixed] } else { [mixed, x] };
            let product = graph.apply1(Matmul::default(), &factors)?;
            let next = AddScaled { alpha: (a * factor) as f32, beta: factor as f32 };
            x = graph.apply1(next, &[x, product])?;
        }
        Ok(Some(x))
    }
}

impl Muon {
    /// Of matrices first m = momentum m + (1 - momentum) g, d = m or momentum m + (1 - momentum) g; then, d orthogonal:
    /// w = w (1 - rate decay) - rate d. All else is AdamW's.
    fn update<T: Real>(&self, page: UpdatePage<'_, T>) {
        if !page.directed {
            if page.pass == 1 {
                self.adam().update(page);
            }
            return;
        }
        if page.pass == 1 {
            let (rate, decay) = (page.rate(), page.decay());
            for (w, d) in page.parameters.iter_mut().zip(page.gradients) {
                *w = *w * (T::one() - rate * decay) - rate * *d;
            }
            return;
        }
        let [momentum, fresh] = [self.momentum, 1.0 - self.momentum].map(T::of);
        let running = page.slots.into_iter().flatten();
        for (grad, m) in page.gradients.iter_mut().zip(running) {
            let g = page.clip.of(*grad);
            *m = momentum * *m + fresh * g;
            *grad = if self.nesterov { momentum * *m + fresh * g } else { *m };
        }
    }
}
