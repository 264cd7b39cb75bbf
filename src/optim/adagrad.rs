//! `torch.optim.Adagrad`. `shaders/adagrad.wgsl` is the same rule.

use crate::graph::{Real, Scalar, Update, UpdatePage};

/// Adagrad (Duchi, Hazan and Singer, 2011).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    /// Decay of the learning rate: step `t`, from 0, has the rate over `1 + lr_decay t`.
    pub lr_decay: f64,
    /// What the sums of squares start at. It is added where they are used: the state `sum` is without it.
    pub initial_accumulator_value: f64,
    /// Added to the denominator.
    pub eps: f64,
}

impl Update for Adagrad {
    fn name(&self) -> &'static str {
        "adagrad"
    }

    fn slots(&self) -> &'static [&'static str] {
        &["sum"]
    }

    fn uniforms(&self) -> Vec<(&'static str, Scalar)> {
        let initial = (self.initial_accumulator_value as f32).into();
        vec![("initial", initial), ("eps", (self.eps as f32).into())]
    }

    fn step_numbers(&self, step: u32) -> [f32; 4] {
        [(1.0 / (1.0 + self.lr_decay * (f64::from(step) - 1.0))) as f32, 0.0, 0.0, 0.0]
    }

    fn update_f32(&self, page: UpdatePage<'_, f32>) {
        self.update(page);
    }

    fn update_f64(&self, page: UpdatePage<'_, f64>) {
        self.update(page);
    }
}

impl Adagrad {
    /// s += g^2; w -= rate g / (sqrt(initial + s) + eps)
    fn update<T: Real>(&self, page: UpdatePage<'_, T>) {
        let (decay, eps, [shrunk, ..]) = (page.decay(), T::of(self.eps), page.numbers());
        let rate = page.rate() * shrunk;
        let initial = T::of(self.initial_accumulator_value);
        let sums = page.slots.into_iter().flatten();
        for ((w, grad), s) in page.parameters.iter_mut().zip(page.gradients).zip(sums) {
            let g = page.clip.of(*grad) + decay * *w;
            *s += g * g;
            *w -= rate * g / ((initial + *s).sqrt() + eps);
        }
    }
}
