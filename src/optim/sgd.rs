//! `torch.optim.SGD`: momentum, dampening, Nesterov, weight decay. `shaders/sgd.wgsl` is the same rule.

use crate::graph::{Real, Scalar, Update, UpdatePage};

/// Stochastic gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Factor on the running gradient.
    pub momentum: f64,
    /// How much of the new gradient is left out of the running one.
    pub dampening: f64,
    /// Whether to look ahead by the running gradient.
    pub nesterov: bool,
}

impl Update for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn slots(&self) -> &'static [&'static str] {
        &["momentum_buffer"]
    }

    fn uniforms(&self) -> Vec<(&'static str, Scalar)> {
        vec![("momentum", (self.momentum as f32).into()), ("nesterov", self.nesterov.into())]
    }

    /// The first step takes the whole gradient into the running one, as PyTorch does.
    fn step_numbers(&self, step: u32) -> [f32; 4] {
        [if step == 1 { 1.0 } else { (1.0 - self.dampening) as f32 }, 0.0, 0.0, 0.0]
    }

    fn update_f32(&self, page: UpdatePage<'_, f32>) {
        self.update(page);
    }

    fn update_f64(&self, page: UpdatePage<'_, f64>) {
        self.update(page);
    }
}

impl Sgd {
    /// g = clip grad + decay w; m = momentum m + share g; w -= rate (g + momentum m) or rate m
    fn update<T: Real>(&self, page: UpdatePage<'_, T>) {
        let (rate, decay) = (page.rate(), page.decay());
        let (momentum, [share, ..]) = (T::of(self.momentum), page.numbers());
        let running = page.slots.into_iter().flatten();
        for ((w, grad), m) in page.parameters.iter_mut().zip(page.gradients).zip(running) {
            let g = page.clip.of(*grad) + decay * *w;
            *m = momentum * *m + share * g;
            let direction = if self.momentum == 0.0 {
                g
            } else if self.nesterov {
                g + momentum * *m
            } else {
                *m
            };
            *w -= rate * direction;
        }
    }
}
