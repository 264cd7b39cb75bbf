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
        let mut uniforms = self.moment_uniforms();
        uniforms.push(("decoupled", self.decoupled.into()));
        uniforms
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
        let moments = self.moments(&page);
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
            let (above, below) = moments.advance(m, v, g);
            *w -= rate * above / below;
        }
    }

    /// What the averages take of the shaders' uniforms.
    pub(super) fn moment_uniforms(&self) -> Vec<(&'static str, Scalar)> {
        let mut uniforms = beta_uniforms(self.betas);
        uniforms.push(("eps", (self.eps as f32).into()));
        uniforms
    }

    /// The rule of the averages, for a page's step.
    pub(super) fn moments<T: Real>(&self, page: &UpdatePage<'_, T>) -> Moments<T> {
        let [correct1, correct2, ..] = page.numbers();
        let (beta, rest) = (self.betas.map(T::of), self.betas.map(|beta| T::of(1.0 - beta)));
        Moments { beta, rest, correct: [correct1, correct2], eps: T::of(self.eps) }
    }
}

/// Decays of two averages, and what is left to 1: from f64, because 1 - 0.999 in f32 is off by 1e-5 of itself.
pub(super) fn beta_uniforms([beta1, beta2]: [f64; 2]) -> Vec<(&'static str, Scalar)> {
    vec![
        ("beta1", (beta1 as f32).into()),
        ("beta2", (beta2 as f32).into()),
        ("rest1", ((1.0 - beta1) as f32).into()),
        ("rest2", ((1.0 - beta2) as f32).into()),
    ]
}

/// The running averages of a gradient and of its square.
pub(super) struct Moments<T> {
    beta: [T; 2],
    rest: [T; 2],
    correct: [T; 2],
    eps: T,
}

impl<T: Real> Moments<T> {
    /// m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; gives m^ and sqrt(v^) + eps.
    pub(super) fn advance(&self, m: &mut T, v: &mut T, g: T) -> (T, T) {
        *m = self.beta[0] * *m + self.rest[0] * g;
        *v = self.beta[1] * *v + self.rest[1] * g * g;
        (*m * self.correct[0], (*v).sqrt() * self.correct[1] + self.eps)
    }
}
