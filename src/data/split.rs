use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::decoded::StoredImages;
use super::image_file;
use super::normalization::Normalization;
use crate::error::{Error, Result};
use crate::tensor::{CounterRng, Purpose};

/// From a byte to 0..1.
pub(super) const BYTE_SCALE: f32 = 1.0 / 255.0;

/// Pixels of all samples of a split, `H, W, C` within a sample.
#[derive(Clone, Debug)]
pub enum Images {
    /// Bytes, and what they are multiplied with.
    U8 {
        /// The bytes of all samples; shared with the sessions that gather from them.
        data: Arc<Vec<u8>>,
        /// The factor, 1/255 for most.
        scale: f32,
    },
    /// Values that are taken exactly as they are, never normalised.
    F32(Arc<Vec<f32>>),
    /// Image files that are decoded when a batch needs them; scaled by 1/255.
    Files(Vec<PathBuf>),
    /// Decoded images in a file, read when a batch needs them; scaled by 1/255.
    Stored(StoredImages),
}

/// Pixels of a batch as they are stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values that are taken as they are.
    Real(Vec<f32>),
}

/// Labelled samples. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Split {
    contents: Arc<Contents>,
}

#[derive(Debug)]
struct Contents {
    images: Images,
    labels: Arc<Vec<i32>>,
    image: [usize; 3],
    shorter: Option<usize>,
}

impl Split {
    /// Samples of `image` channels, height and width, one after the other in memory, each `H, W, C`, and the index of each
    /// sample's class.
    ///
    /// # Errors
    /// If images and labels do not agree in number, or a sample has no pixels.
    pub fn new(images: Images, labels: Vec<i32>, image: [usize; 3]) -> Result<Split> {
        let size = image.iter().try_fold(1usize, |size, &dim| size.checked_mul(dim)).unwrap_or(0);
        if size == 0 {
            return Err(Error::Data(format!(
                "samples of {image:?} (channels, height, width) are empty or too large"
            )));
        }
        let (held, each) = match &images {
            Images::U8 { data, .. } => (data.len(), size),
            Images::F32(data) => (data.len(), size),
            Images::Files(paths) => (paths.len(), 1),
            Images::Stored(_) => (labels.len(), 1),
        };
        if labels.len().checked_mul(each) != Some(held) {
            let count = held as f64 / each as f64;
            return Err(Error::Data(format!(
                "there are {} labels for {count} images of {image:?}",
                labels.len()
            )));
        }
        // Sample numbers travel as u32, in batches and in the order of an epoch.
        if u32::try_from(labels.len()).is_err() {
            return Err(Error::Data(format!("{} samples are more than {}", labels.len(), u32::MAX)));
        }
        Ok(Split { contents: Arc::new(Contents { images, labels: Arc::new(labels), image, shorter: None }) })
    }

    /// The same with files whose shorter side is resized to so many pixels before the middle is taken; without, they
    /// must have the size of the samples.
    pub(super) fn resizing(self, shorter: Option<usize>) -> Split {
        let Contents { images, labels, image, .. } = &*self.contents;
        let (images, labels, image) = (images.clone(), labels.clone(), *image);
        Split { contents: Arc::new(Contents { images, labels, image, shorter }) }
    }

    /// What the shorter side of files is resized to.
    pub(super) fn shorter(&self) -> Option<usize> {
        self.contents.shorter
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.contents.labels.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.contents.labels.is_empty()
    }

    /// The label of every sample.
    pub fn labels(&self) -> &[i32] {
        &self.contents.labels
    }

    /// The labels, to be shared.
    pub fn shared_labels(&self) -> Arc<Vec<i32>> {
        self.contents.labels.clone()
    }

    /// The stored pixels.
    pub fn images(&self) -> &Images {
        &self.contents.images
    }

    /// Channels, height and width of a sample.
    pub fn image(&self) -> [usize; 3] {
        self.contents.image
    }

    /// Elements of a sample.
    pub fn sample_len(&self) -> usize {
        self.contents.image.iter().product()
    }

    /// A copy of some samples, in the given order.
    pub fn subset(&self, samples: &[u32]) -> Result<Split> {
        self.check(samples)?;
        let labels = samples.iter().map(|&sample| self.labels()[sample as usize]).collect();
        let size = self.sample_len();
        let images = match self.images() {
            Images::U8 { data, scale } => {
                Images::U8 { data: Arc::new(gather(data, samples, size)), scale: *scale }
            }
            Images::F32(data) => Images::F32(Arc::new(gather(data, samples, size))),
            Images::Stored(_) => {
                let mut pixels = Pixels::Bytes(vec![]);
                self.fetch(samples, samples.len(), &AtomicBool::new(false), &mut pixels)?;
                let Pixels::Bytes(data) = pixels else { unreachable!("stored images are bytes") };
                Images::U8 { data: Arc::new(data), scale: BYTE_SCALE }
            }
            Images::Files(paths) => {
                Images::Files(samples.iter().map(|&sample| paths[sample as usize].clone()).collect())
            }
        };
        Ok(Split::new(images, labels, self.image())?.resizing(self.shorter()))
    }

    /// What each byte of each channel becomes, `[C, 256]`: scaled, then normalised. There is no such table for `f32`
    /// samples, which are taken as they are.
    pub fn byte_table(&self, normalization: Option<&Normalization>) -> Result<Option<Vec<f32>>> {
        let scale = match self.images() {
            Images::U8 { scale, .. } => *scale,
            Images::Files(_) | Images::Stored(_) => BYTE_SCALE,
            Images::F32(_) => return Ok(None),
        };
        let channels = self.image()[0];
        if let Some(normalization) = normalization {
            normalization.check(channels)?;
        }
        let value = |channel, byte: u8| {
            let value = f32::from(byte) * scale;
            normalization.map_or(value, |normalization| normalization.value(value, channel))
        };
        let values = (0..channels).flat_map(|channel| (0..=255).map(move |byte| value(channel, byte)));
        Ok(Some(values.collect()))
    }

    /// The pixels of some samples as the network gets them: scaled, normalised unless they are `f32`, `N, H, W, C`.
    pub fn pixels(&self, samples: &[u32], normalization: Option<&Normalization>) -> Result<Vec<f32>> {
        let table = self.byte_table(normalization)?.unwrap_or_default();
        let mut stored = self.empty_pixels();
        self.fetch(samples, samples.len(), &AtomicBool::new(false), &mut stored)?;
        Ok(match stored {
            Pixels::Real(values) => values,
            Pixels::Bytes(bytes) => {
                let channels = (0..self.image()[0]).cycle();
                bytes.iter().zip(channels).map(|(&byte, c)| table[c * 256 + usize::from(byte)]).collect()
            }
        })
    }

    /// No pixels of this split's type.
    pub(super) fn empty_pixels(&self) -> Pixels {
        match self.images() {
            Images::F32(_) => Pixels::Real(vec![]),
            Images::U8 { .. } | Images::Files(_) | Images::Stored(_) => Pixels::Bytes(vec![]),
        }
    }

    /// Makes `out` the pixels of `samples` as they are stored, and zeros up to `len` samples. Gives up where `stop`
    /// becomes true; what `out` holds is then of no use.
    pub(super) fn fetch(
        &self,
        samples: &[u32],
        len: usize,
        stop: &AtomicBool,
        out: &mut Pixels,
    ) -> Result<()> {
        self.check(samples)?;
        let size = self.sample_len();
        match (self.images(), out) {
            (Images::U8 { data, .. }, Pixels::Bytes(out)) => {
                copy(data, samples, size, resized(out, len, size)?)
            }
            (Images::F32(data), Pixels::Real(out)) => copy(data, samples, size, resized(out, len, size)?),
            (Images::Files(paths), Pixels::Bytes(out)) => {
                let out = resized(out, len, size)?;
                out[samples.len() * size..].fill(0);
                out.par_chunks_exact_mut(size).zip(samples).try_for_each(|(out, &sample)| {
                    if !stop.load(Ordering::Relaxed) {
                        out.copy_from_slice(&image_file::decode(
                            &paths[sample as usize],
                            self.image(),
                            self.shorter(),
                        )?);
                    }
                    Ok::<(), Error>(())
                })?;
            }
            (Images::Stored(stored), Pixels::Bytes(out)) => {
                let out = resized(out, len, size)?;
                out[samples.len() * size..].fill(0);
                for (out, &sample) in out.chunks_exact_mut(size).zip(samples) {
                    stored.read(sample, out)?;
                }
            }
            (_, out) => {
                *out = self.empty_pixels();
                return self.fetch(samples, len, stop, out);
            }
        }
        Ok(())
    }

    fn check(&self, samples: &[u32]) -> Result<()> {
        match samples.iter().find(|&&sample| sample as usize >= self.len()) {
            Some(sample) => Err(Error::Data(format!("there is no sample {sample} among {}", self.len()))),
            None => Ok(()),
        }
    }
}

fn gather<T: Copy>(data: &[T], samples: &[u32], size: usize) -> Vec<T> {
    samples.iter().flat_map(|&sample| &data[sample as usize * size..][..size]).copied().collect()
}

/// The samples one after the other, then zeros.
fn copy<T: Copy + Default>(data: &[T], samples: &[u32], size: usize, out: &mut [T]) {
    let (front, padding) = out.split_at_mut(samples.len() * size);
    for (out, &sample) in front.chunks_exact_mut(size).zip(samples) {
        out.copy_from_slice(&data[sample as usize * size..][..size]);
    }
    padding.fill(T::default());
}

/// Room for a batch, or an error where a batch size asks for more memory than there is.
pub(super) fn resized<T: Copy + Default>(out: &mut Vec<T>, batch: usize, size: usize) -> Result<&mut [T]> {
    let held = out.len();
    let fits = |len: &usize| out.try_reserve_exact(len.saturating_sub(held)).is_ok();
    let message = || {
        Error::Data(format!("a batch of {batch} samples does not fit in memory; use a smaller batch size"))
    };
    let len = batch.checked_mul(size).filter(fits).ok_or_else(message)?;
    out.resize(len, T::default());
    Ok(out)
}

/// Sample numbers of a training and a test split with the same share of every class: one in five for the test, at
/// least one where a class has two. Both keep the order of the samples.
pub(super) fn stratify(labels: &[i32], seed: u64) -> (Vec<u32>, Vec<u32>) {
    let classes = labels.iter().max().map_or(0, |&label| label + 1);
    let mut of_class: Vec<Vec<u32>> = vec![Vec::new(); classes as usize];
    for (sample, &label) in labels.iter().enumerate() {
        of_class[label as usize].push(sample as u32);
    }
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (class, mut samples) in of_class.into_iter().enumerate() {
        samples.shuffle(&mut CounterRng::new(seed, Purpose::Split, "", class as u32));
        let held_out = match samples.len() {
            0 | 1 => 0,
            len => ((len + 2) / 5).max(1),
        };
        test.extend_from_slice(&samples[..held_out]);
        train.extend_from_slice(&samples[held_out..]);
    }
    train.sort_unstable();
    test.sort_unstable();
    (train, test)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_keeps_its_share() {
        let labels: Vec<i32> = (0..40).flat_map(|class| vec![class; class as usize]).collect();
        let (train, test) = stratify(&labels, 7);
        let mut all = [train.clone(), test.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..labels.len() as u32).collect::<Vec<_>>());
        for class in 1..40 {
            let count = train.iter().filter(|&&sample| labels[sample as usize] == class).count();
            assert!((count as f64 - 0.8 * f64::from(class)).abs() <= 1.0, "class {class}: {count}");
        }
        assert_eq!(stratify(&labels, 7), (train.clone(), test));
        assert_ne!(stratify(&labels, 8).0, train);
    }

    #[test]
    fn counts_must_agree() {
        let bytes = |len| Images::U8 { data: Arc::new(vec![0; len]), scale: 1.0 };
        assert!(Split::new(bytes(8), vec![0, 1], [1, 2, 2]).is_ok());
        let error = Split::new(bytes(7), vec![0, 1], [1, 2, 2]).unwrap_err();
        assert_eq!(error.to_string(), "there are 2 labels for 1.75 images of [1, 2, 2]");
        assert!(Split::new(bytes(0), vec![], [1, 0, 2]).is_err());
        assert!(Split::new(bytes(0), vec![], [usize::MAX, 9, 2]).is_err());
        let split = Split::new(bytes(8), vec![0, 1], [1, 2, 2]).unwrap();
        assert_eq!(split.pixels(&[2], None).unwrap_err().to_string(), "there is no sample 2 among 2");
    }
}
