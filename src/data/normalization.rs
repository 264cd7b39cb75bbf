use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::image_file;
use super::split::{BYTE_SCALE, Images, Split};
use crate::error::{Error, Result};

/// What is subtracted from a pixel of 0..1 and what it is divided by then, per channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// The mean of each channel.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel.
    pub std: Vec<f32>,
}

impl Normalization {
    /// Mean and (population) standard deviation of the training samples; 1 for the deviation of a constant channel.
    /// `None` for `f32` samples, which are taken as they are. Decodes every file of a split that holds files.
    pub fn of(split: &Split) -> Result<Option<Normalization>> {
        let channels = split.image()[0];
        let (sums, scale) = match split.images() {
            Images::F32(_) => return Ok(None),
            Images::U8 { data, scale } => (Sums::of(data, channels), *scale),
            Images::Stored(stored) => {
                let mut image = vec![0; split.sample_len()];
                let mut sums = Sums::zero(channels);
                for sample in 0..split.len() as u32 {
                    stored.read(sample, &mut image)?;
                    sums = sums.plus(&Sums::of(&image, channels));
                }
                (sums, BYTE_SCALE)
            }
            Images::Files(paths) => {
                let sums = paths
                    .par_iter()
                    .map(|path| {
                        Ok(Sums::of(&image_file::decode(path, split.image(), split.shorter())?, channels))
                    })
                    .try_reduce(|| Sums::zero(channels), |a, b| Ok(a.plus(&b)))?;
                (sums, BYTE_SCALE)
            }
        };
        let pixels = (split.len() * (split.sample_len() / channels)) as u128;
        Ok(Some(sums.normalization(pixels, f64::from(scale))))
    }

    /// Normalises pixels of 0..1, channels last, in place. Fails where the number of channels is another.
    pub fn apply(&self, pixels: &mut [f32], channels: usize) -> Result<()> {
        self.check(channels)?;
        for pixel in pixels.chunks_mut(channels) {
            for (channel, value) in pixel.iter_mut().enumerate() {
                *value = self.value(*value, channel);
            }
        }
        Ok(())
    }

    /// Fails unless this is a usable normalisation of so many channels; what was read from a file may not be.
    pub fn check(&self, channels: usize) -> Result<()> {
        let Normalization { mean, std } = self;
        if channels == 0 || mean.len() != channels || std.len() != channels {
            return Err(Error::Data(format!(
                "the normalisation has {} means and {} deviations for images of {channels} channels",
                mean.len(),
                std.len()
            )));
        }
        if !mean.iter().all(|mean| mean.is_finite()) || !std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return Err(Error::Data(format!(
                "the normalisation is not usable: means {mean:?}, deviations {std:?} (must be finite and positive)"
            )));
        }
        Ok(())
    }

    /// One pixel of one channel. There is one such formula, so that training and prediction agree to the bit.
    pub(super) fn value(&self, value: f32, channel: usize) -> f32 {
        (value - self.mean[channel]) / self.std[channel]
    }
}

/// Per channel, the sum of the bytes and of their squares: integers, so the order of adding does not matter.
struct Sums {
    channels: Vec<(u64, u64)>,
}

impl Sums {
    fn zero(channels: usize) -> Sums {
        Sums { channels: vec![(0, 0); channels] }
    }

    fn of(bytes: &[u8], channels: usize) -> Sums {
        let mut sums = Sums::zero(channels);
        for pixel in bytes.chunks_exact(channels) {
            for ((sum, squares), &byte) in sums.channels.iter_mut().zip(pixel) {
                *sum += u64::from(byte);
                *squares += u64::from(byte) * u64::from(byte);
            }
        }
        sums
    }

    fn plus(mut self, other: &Sums) -> Sums {
        for (mine, other) in self.channels.iter_mut().zip(&other.channels) {
            *mine = (mine.0 + other.0, mine.1 + other.1);
        }
        self
    }

    /// `mean = sum/n`, `std^2 = (n*squares - sum^2) / n^2`, the numerator exact.
    fn normalization(&self, pixels: u128, scale: f64) -> Normalization {
        let n = pixels as f64;
        let (mean, std) = self
            .channels
            .iter()
            .map(|&(sum, squares)| {
                let spread = pixels * u128::from(squares) - u128::from(sum) * u128::from(sum);
                let std = ((spread as f64).sqrt() / n * scale) as f32;
                ((sum as f64 / n * scale) as f32, if std > 0.0 { std } else { 1.0 })
            })
            .unzip();
        Normalization { mean, std }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn split(data: Vec<u8>, scale: f32, channels: usize) -> Split {
        let count = data.len() / channels;
        Split::new(Images::U8 { data: Arc::new(data), scale }, vec![0; count], [channels, 1, 1]).unwrap()
    }

    #[test]
    fn mean_and_deviation_per_channel() {
        let normalization = Normalization::of(&split(vec![2, 7, 4, 7, 6, 7], 0.5, 2)).unwrap().unwrap();
        assert_eq!(normalization.mean, [2.0, 3.5]);
        assert_eq!(normalization.std, [(2.0f64 / 3.0).sqrt() as f32, 1.0]);
        let pixels = split(vec![2, 7, 4, 7, 6, 7], 0.5, 2).pixels(&[2, 0], Some(&normalization)).unwrap();
        assert_eq!(pixels, [1.0 / normalization.std[0], 0.0, -1.0 / normalization.std[0], 0.0]);
        let mut raw = [3.0, 3.5, 1.0, 3.5];
        normalization.apply(&mut raw, 2).unwrap();
        assert_eq!(pixels, raw);
    }

    #[test]
    fn floats_are_not_normalised() {
        let split = Split::new(Images::F32(Arc::new(vec![5.0, -3.0])), vec![0, 1], [1, 1, 1]).unwrap();
        assert_eq!(Normalization::of(&split).unwrap(), None);
        let normalization = Normalization { mean: vec![1.0], std: vec![2.0] };
        assert_eq!(split.pixels(&[0, 1], Some(&normalization)).unwrap(), [5.0, -3.0]);
    }

    #[test]
    fn unusable_ones_are_refused() {
        for (mean, std) in [(vec![], vec![]), (vec![0.0], vec![0.0]), (vec![f32::NAN], vec![1.0])] {
            let normalization = Normalization { mean, std };
            assert!(normalization.apply(&mut [1.0], 1).is_err());
            assert!(split(vec![1], 1.0, 1).pixels(&[0], Some(&normalization)).is_err());
        }
    }
}
