use rand::RngExt;
use rand_distr::{Beta, Distribution};

use super::draw::rectangle_about;
use super::parameters::Rectangle;
use crate::tensor::{CounterRng, Purpose};

/// Numbers of a sample's row for the operators `mix_images` and `mix_targets`: the sample's share in the target, its share
/// in each pixel, then columns (first, end) and rows of the box that comes whole from its partner.
pub const MIX_WORDS: usize = 6;

/// Mixup and cutmix by timm's conventions: once per batch, one of them is drawn. Sample `i` is mixed with its
/// [`partner`]: neighbours stay together in every micro-batch of even size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mixing {
    /// The share of each image is drawn from Beta(alpha, alpha); 0 for no mixup.
    pub mixup_alpha: f64,
    /// The area of the box is drawn from Beta(alpha, alpha); 0 for no cutmix.
    pub cutmix_alpha: f64,
    /// Probability that a batch is mixed.
    pub mixup_prob: f64,
    /// Probability of cutmix where both are on.
    pub switch_prob: f64,
}

/// The place in the batch of the sample that the one at `place` is mixed with; itself where it is left over.
pub fn partner(place: usize, batch: usize) -> usize {
    let other = place ^ 1;
    if other < batch { other } else { place }
}

impl Mixing {
    /// Whether anything is mixed at all.
    pub fn is_on(&self) -> bool {
        self.mixup_prob > 0.0 && (self.mixup_alpha > 0.0 || self.cutmix_alpha > 0.0)
    }

    /// What happens to a batch of images `[height, width]`, keyed by seed, epoch and the batch's number in it.
    pub fn draw(&self, key: (u64, u32, u32), [height, width]: [usize; 2]) -> [f32; MIX_WORDS] {
        let (seed, epoch, position) = key;
        let unmixed = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        let mut rng = CounterRng::of_pair(seed, Purpose::Mix, [epoch, position]);
        if rng.random::<f64>() >= self.mixup_prob {
            return unmixed;
        }
        let cut =
            self.cutmix_alpha > 0.0 && (self.mixup_alpha <= 0.0 || rng.random::<f64>() < self.switch_prob);
        let alpha = if cut { self.cutmix_alpha } else { self.mixup_alpha };
        let Ok(beta) = Beta::new(alpha, alpha) else { return unmixed };
        let share = beta.sample(&mut rng);
        if !cut {
            return [share as f32, share as f32, 0.0, 0.0, 0.0, 0.0];
        }
        let side = libm::sqrt(1.0 - share);
        let size = [height, width].map(|length| (length as f64 * side) as u32);
        let Rectangle { columns: [left, right], rows: [top, bottom] } =
            rectangle_about(&mut rng, size, [height, width]);
        let area = f64::from((right - left) * (bottom - top));
        let kept = 1.0 - area / (height * width) as f64;
        let [left, right, top, bottom] = [left, right, top, bottom].map(|end| end as f32);
        [kept as f32, 1.0, left, right, top, bottom]
    }
}
