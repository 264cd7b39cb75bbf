use rand::Rng;
use rand_distr::{Distribution, Normal, Uniform};
use serde::{Deserialize, Serialize};

use crate::tensor::Shape;

/// How a parameter starts (`torch.nn.init`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// PyTorch's default for weights of convolutions and linear layers: uniform in ±1/sqrt(fan_in)
    /// (`kaiming_uniform_(a=sqrt(5))`).
    Default,
    /// `kaiming_uniform_(nonlinearity="relu")`: uniform in ±sqrt(6 / fan_in).
    KaimingUniform,
    /// `kaiming_uniform_(mode="fan_out", nonlinearity="relu")`: uniform in ±sqrt(6 / fan_out).
    KaimingUniformFanOut,
    /// `kaiming_normal_(nonlinearity="relu")`: normal with deviation sqrt(2 / fan_in).
    KaimingNormal,
    /// `kaiming_normal_(mode="fan_out", nonlinearity="relu")`, as torchvision's ResNets use it.
    KaimingNormalFanOut,
    /// `xavier_uniform_`: uniform in ±sqrt(6 / (fan_in + fan_out)).
    XavierUniform,
    /// `xavier_normal_`: normal with deviation sqrt(2 / (fan_in + fan_out)).
    XavierNormal,
    /// `trunc_normal_(std=0.02)`, as ConvNeXt and vision transformers use it: normal, cut off at ±2, which none reaches.
    TruncNormal,
    /// `dirac_` on the first filters: each passes on the channel of its number. Filters beyond the channels, which `dirac_`
    /// leaves zero, start by default, as in airbench94: `dirac_(weight[:weight.size(1)])`.
    Dirac,
    /// By default here; a training run puts filters that whiten its images in their place.
    Whitening,
    /// All elements equal.
    #[serde(skip)]
    Constant(f32),
    /// Uniform in ±bound.
    #[serde(skip)]
    Uniform(f32),
}

impl Init {
    /// Draws the elements of a parameter, in row-major order.
    pub fn sample(self, shape: &Shape, rng: &mut impl Rng) -> Vec<f32> {
        let (fan_in, fan_out) = fans(shape);
        let count = shape.numel();
        match self {
            Init::Default | Init::Whitening => uniform(count, (1.0 / fan_in).sqrt(), rng),
            Init::Dirac => {
                let mut weight = uniform(count, (1.0 / fan_in).sqrt(), rng);
                dirac(&mut weight, shape);
                weight
            }
            Init::KaimingUniform => uniform(count, (6.0 / fan_in).sqrt(), rng),
            Init::KaimingUniformFanOut => uniform(count, (6.0 / fan_out).sqrt(), rng),
            Init::KaimingNormal => normal(count, (2.0 / fan_in).sqrt(), rng),
            Init::KaimingNormalFanOut => normal(count, (2.0 / fan_out).sqrt(), rng),
            Init::XavierUniform => uniform(count, (6.0 / (fan_in + fan_out)).sqrt(), rng),
            Init::XavierNormal => normal(count, (2.0 / (fan_in + fan_out)).sqrt(), rng),
            Init::TruncNormal => normal(count, 0.02, rng),
            Init::Constant(value) => vec![value; count],
            Init::Uniform(bound) => uniform(count, bound, rng),
        }
    }
}

/// Fan-in and fan-out of a weight `[K, C, R, S]` or `[out, in]`, as PyTorch counts them.
fn fans(shape: &Shape) -> (f32, f32) {
    let outputs = shape.first().copied().unwrap_or(1);
    let inputs = shape.get(1).copied().unwrap_or(1);
    let window: usize = shape.iter().skip(2).product();
    ((inputs * window) as f32, (outputs * window) as f32)
}

/// Makes each of the first filters the identity on its channel.
fn dirac(weight: &mut [f32], shape: &Shape) {
    let [channels, window] = [1, 2].map(|first| shape.iter().skip(first).product::<usize>());
    let channels = channels / window.max(1);
    let centre = shape.iter().skip(2).fold(0, |place, side| place * side + side / 2);
    for (filter, weight) in weight.chunks_mut((channels * window).max(1)).take(channels).enumerate() {
        weight.fill(0.0);
        weight[filter * window + centre] = 1.0;
    }
}

fn uniform(count: usize, bound: f32, rng: &mut impl Rng) -> Vec<f32> {
    match Uniform::new_inclusive(-bound, bound) {
        Ok(distribution) => distribution.sample_iter(rng).take(count).collect(),
        Err(_) => vec![0.0; count],
    }
}

fn normal(count: usize, deviation: f32, rng: &mut impl Rng) -> Vec<f32> {
    match Normal::new(0.0, deviation) {
        Ok(distribution) => distribution.sample_iter(rng).take(count).collect(),
        Err(_) => vec![0.0; count],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{CounterRng, Purpose};

    fn sample(init: Init, shape: &[usize]) -> Vec<f32> {
        init.sample(&Shape::from(shape.to_vec()), &mut CounterRng::new(1, Purpose::Init, "test", 0))
    }

    /// `w = torch.zeros(5, 2, 3, 2); torch.nn.init.dirac_(w[:2])` has ones at `[0, 0, 1, 1]` and `[1, 1, 1, 1]`.
    #[test]
    fn dirac_filters_pass_on_their_channel() {
        let weight = sample(Init::Dirac, &[5, 2, 3, 2]);
        let ones: Vec<usize> = (0..24).filter(|at| weight[*at] != 0.0).collect();
        assert_eq!((ones, weight[3], weight[21]), (vec![3, 21], 1.0, 1.0));
        assert_eq!(weight[24..], sample(Init::Default, &[5, 2, 3, 2])[24..]);
        // Fewer filters than channels.
        let weight = sample(Init::Dirac, &[2, 3, 1, 1]);
        assert_eq!(weight, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    }
}
