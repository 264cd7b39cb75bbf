//! `torch.optim.Adam` and `torch.optim.AdamW`. `shaders/adam.wgsl` is the same rule.

use crate::graph::{Real, Scalar, Update, UpdatePage};

/// Adam (Kingma and Ba, 2015), with L2 weight decay or, as AdamW, decoupled (Loshchilov and Hutter, 2019).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Decay of the running averages of the gradient and of its square.
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub eps: f64,
    /// Whether the weight decays by itself (AdamW) rather than through the gradient.
    pub decoupled: bool,
}

impl Update for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn uniforms(&self) -> Vec<(&'static str, Scalar)> {
        let [beta1, beta2] = self.betas;
        vec![
            ("beta1", (beta1 as f32).into()),
            ("beta2", (beta2 as f32).into()),
            ("rest1", ((1.0 - beta1) as f32).into()),
            ("rest2", ((1.0 - beta2) as f32).into()),
            ("eps", (self.eps as f32).into()),
            ("decoupled", self.decoupled.into()),
        ]
    }

    /// The bias corrections 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t).
    fn step_numbers(&self, step: u32) -> [f32; 4] {
        let ([beta1, beta2], t) = (self.betas, f64::from(step));
        [(1.0 / (1.0 - beta1.powf(t))) as f32, (1.0 / (1.0 - beta2.powf(t)).sqrt()) as f32, 0.0, 0.0]
    }

    fn update_f32(&self, page: UpdatePage<'_, f32>) {
        self.update(page);
    }

    fn update_f64(&self, page: UpdatePage<'_, f64>) {
        self.update(page);
    }
}

impl Adam {
    /// m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; w -= rate m^ / (sqrt(v^) + eps)
    pub(super) fn update<T: Real>(&self, page: UpdatePage<'_, T>) {
        let (rate, decay) = (page.rate(), page.decay());
        let [beta1, beta2] = self.betas.map(T::of);
        // From f64: 1 - 0.999 in f32 is off by 1e-5 of itself.
        let [rest1, rest2] = self.betas.map(|beta| T::of(1.0 - beta));
        let [correct1, correct2, ..] = page.numbers();
        let eps = T::of(self.eps);
        let mut slots = page.slots.into_iter();
        let (Some(averages), Some(squares)) = (slots.next(), slots.next()) else { return };
        let state = averages.iter_mut().zip(squares);
        for ((w, grad), (m, v)) in page.parameters.iter_mut().zip(page.gradients).zip(state) {
            let mut g = page.clip.of(*grad);
            if self.decoupled {
                *w *= T::one() - rate * decay;
            } else {
                g += decay * *w;
            }
            *m = beta1 * *m + rest1 * g;
            *v = beta2 * *v + rest2 * g * g;
            *w -= rate * (*m * correct1) / ((*v).sqrt() * correct2 + eps);
        }
    }
}
