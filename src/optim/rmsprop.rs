//! `torch.optim.RMSprop`, plain, centered, with momentum. `shaders/rmsprop.wgsl` is the same rule.

use crate::graph::{Real, Scalar, Update, UpdatePage};

/// RMSprop (Hinton, lecture 6e, 2012).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Decay of the average of the gradient's square.
    pub alpha: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Factor on the running step.
    pub momentum: f64,
    /// Whether the gradient is scaled by its deviation instead of its root mean square.
    pub centered: bool,
}

impl Update for RmsProp {
    fn name(&self) -> &'static str {
        "rmsprop"
    }

    fn slots(&self) -> &'static [&'static str] {
        &["square_avg", "grad_avg", "momentum_buffer"]
    }

    fn uniforms(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("alpha", (self.alpha as f32).into()),
            ("rest", ((1.0 - self.alpha) as f32).into()),
            ("eps", (self.eps as f32).into()),
            ("momentum", (self.momentum as f32).into()),
            ("centered", self.centered.into()),
        ]
    }

    fn update_f32(&self, page: UpdatePage<'_, f32>) {
        self.update(page);
    }

    fn update_f64(&self, page: UpdatePage<'_, f64>) {
        self.update(page);
    }
}

impl RmsProp {
    /// v = alpha v + (1 - alpha) g^2; d = g / (sqrt(v - m^2) + eps), m = 0 unless centered; b = momentum b + d;
    /// w -= rate b
    fn update<T: Real>(&self, page: UpdatePage<'_, T>) {
        let (rate, decay) = (page.rate(), page.decay());
        let [alpha, rest, eps, momentum] = [self.alpha, 1.0 - self.alpha, self.eps, self.momentum].map(T::of);
        let mut slots = page.slots.into_iter();
        let (Some(squares), Some(averages), Some(running)) = (slots.next(), slots.next(), slots.next())
        else {
            return;
        };
        let state = squares.iter_mut().zip(averages).zip(running);
        for ((w, grad), ((v, m), b)) in page.parameters.iter_mut().zip(page.gradients).zip(state) {
            let g = page.clip.of(*grad) + decay * *w;
            *v = alpha * *v + rest * g * g;
            let mut variance = *v;
            if self.centered {
                *m = alpha * *m + rest * g;
                variance = *v - *m * *m;
                // Rounding can take it below 0; NaN stays.
                variance = if variance < T::zero() { T::zero() } else { variance };
            }
            let mut direction = g / (variance.sqrt() + eps);
            if self.momentum != 0.0 {
                direction = momentum * *b + direction;
                *b = direction;
            }
            *w -= rate * direction;
        }
    }
}
