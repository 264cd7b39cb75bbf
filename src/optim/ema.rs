//! Running averages of weights, as `timm.utils.ModelEmaV3` has them. `shaders/ema.wgsl` is the same rule.

/// How much of each step's weights goes into their running average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ema {
    /// How much of the average is kept, in 0..1.
    pub decay: f64,
    /// Whether the decay rises to that: after `t` steps it is at most `1 - t^(-2/3)`.
    pub warmup: bool,
}

impl Ema {
    /// The share of the weights after step `step`, from 1; the first step's weights are the first average.
    pub fn share(&self, step: u64) -> f64 {
        let done = step.saturating_sub(1);
        if done == 0 {
            return 1.0;
        }
        let rising = if self.warmup { 1.0 - (1.0 + done as f64).powf(-2.0 / 3.0) } else { 1.0 };
        1.0 - if rising < self.decay { rising } else { self.decay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `timm.utils.ModelEmaV3(decay=0.9, use_warmup=True).get_decay(step)` and without warmup.
    #[test]
    fn decays_are_timms() {
        let warm = Ema { decay: 0.9, warmup: true };
        let expected = [(1, 0.0), (2, 0.37003947505), (5, 0.65800481066), (20, 0.86427911917), (100, 0.9)];
        for (step, decay) in expected {
            assert!((1.0 - warm.share(step) - decay).abs() < 1e-10, "{step}: {}", 1.0 - warm.share(step));
        }
        let plain = Ema { decay: 0.9, warmup: false };
        assert_eq!(plain.share(1), 1.0);
        assert!((plain.share(2) - 0.1).abs() < 1e-15 && (plain.share(90) - 0.1).abs() < 1e-15);
    }
}
