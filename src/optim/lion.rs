//! Lion, as in its paper and in `timm.optim.Lion`. `shaders/lion.wgsl` is the same rule.

use super::adam::beta_uniforms;
use crate::graph::{Real, Scalar, Update, UpdatePage};

/// Lion (Chen et al., Symbolic Discovery of Optimization Algorithms, 2023). Weight decay is decoupled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    /// How much of the running gradient is in the direction, and how much of it is kept.
    pub betas: [f64; 2],
}

impl Update for Lion {
    fn name(&self) -> &'static str {
        "lion"
    }

    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg"]
    }

    fn uniforms(&self) -> Vec<(&'static str, Scalar)> {
        beta_uniforms(self.betas)
    }

    fn update_f32(&self, page: UpdatePage<'_, f32>) {
        self.update(page);
    }

    fn update_f64(&self, page: UpdatePage<'_, f64>) {
        self.update(page);
    }
}

impl Lion {
    /// w -= rate (sign(beta1 m + (1 - beta1) g) + decay w); m = beta2 m + (1 - beta2) g
    fn update<T: Real>(&self, page: UpdatePage<'_, T>) {
        let (rate, decay) = (page.rate(), page.decay());
        let [beta1, beta2] = self.betas.map(T::of);
        let [rest1, rest2] = self.betas.map(|beta| T::of(1.0 - beta));
        let averages = page.slots.into_iter().flatten();
        for ((w, grad), m) in page.parameters.iter_mut().zip(page.gradients).zip(averages) {
            let g = page.clip.of(*grad);
            let mixed = beta1 * *m + rest1 * g;
            let direction = if mixed == T::zero() { T::zero() } else { mixed / mixed.abs() };
            *w = *w * (T::one() - rate * decay) - rate * direction;
            *m = beta2 * *m + rest2 * g;
        }
    }
}
