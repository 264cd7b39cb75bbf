use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::seq::SliceRandom;
use rayon::prelude::*;

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
        /// The bytes of all samples.
        data: Vec<u8>,
        /// The factor, 1/255 for most.
        scale: f32,
    },
    /// Values that are taken exactly as they are, never normalised.
    F32(Vec<f32>),
    /// Image files that are decoded when a batch needs them; scaled by 1/255.
    Files(Vec<PathBuf>),
}

/// Labelled samples. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Split {
    contents: Arc<Contents>,
}

#[derive(Debug)]
struct Contents {
    images: Images,
    labels: Vec<i32>,
    image: [usize; 3],
}

impl Split {
    /// Samples of `image` channels, height and width. Fails where images and labels do not agree in number.
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
        Ok(Split { contents: Arc::new(Contents { images, labels, image }) })
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
            Images::U8 { data, scale } => Images::U8 { data: gather(data, samples, size), scale: *scale },
            Images::F32(data) => Images::F32(gather(data, samples, size)),
            Images::Files(paths) => {
                Images::Files(samples.iter().map(|&sample| paths[sample as usize].clone()).collect())
            }
        };
        Split::new(images, labels, self.image())
    }

    /// The pixels of some samples as the network gets them: scaled, normalised unless they are `f32`, `N, H, W, C`.
    pub fn pixels(&self, samples: &[u32], normalization: Option<&Normalization>) -> Result<Vec<f32>> {
        let mut out = vec![0.0; samples.len() * self.sample_len()];
        self.fill(samples, normalization, &AtomicBool::new(false), &mut out)?;
        Ok(out)
    }

    /// Writes the pixels of `samples` to the front of `out`. Gives up where `stop` becomes true; what `out` holds is
    /// then of no use.
    pub(super) fn fill(
        &self,
        samples: &[u32],
        normalization: Option<&Normalization>,
        stop: &AtomicBool,
        out: &mut [f32],
    ) -> Result<()> {
        self.check(samples)?;
        let size = self.sample_len();
        match self.images() {
            Images::U8 { data, scale } => {
                let table = ByteTable::new(self.image()[0], *scale, normalization)?;
                for (out, &sample) in out.chunks_exact_mut(size).zip(samples) {
                    table.convert(&data[sample as usize * size..][..size], out);
                }
            }
            Images::F32(data) => {
                for (out, &sample) in out.chunks_exact_mut(size).zip(samples) {
                    out.copy_from_slice(&data[sample as usize * size..][..size]);
                }
            }
            Images::Files(paths) => {
                let table = ByteTable::new(self.image()[0], BYTE_SCALE, normalization)?;
                out.par_chunks_exact_mut(size).zip(samples).try_for_each(|(out, &sample)| {
                    if stop.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    let bytes = image_file::decode(&paths[sample as usize], self.image())?;
                    table.convert(&bytes, out);
                    Ok(())
                })?;
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

/// What each byte becomes, per channel: scaling and normalising happen once for 256 values instead of once a pixel.
struct ByteTable {
    channels: Vec<[f32; 256]>,
}

impl ByteTable {
    fn new(channels: usize, scale: f32, normalization: Option<&Normalization>) -> Result<ByteTable> {
        if let Some(normalization) = normalization {
            normalization.check(channels)?;
        }
        let channel_table = |channel| {
            std::array::from_fn(|byte| {
                let value = byte as f32 * scale;
                normalization.map_or(value, |normalization| normalization.value(value, channel))
            })
        };
        Ok(ByteTable { channels: (0..channels).map(channel_table).collect() })
    }

    fn convert(&self, bytes: &[u8], out: &mut [f32]) {
        if let [table] = self.channels.as_slice() {
            for (out, &byte) in out.iter_mut().zip(bytes) {
                *out = table[usize::from(byte)];
            }
            return;
        }
        let channels = self.channels.len();
        for (out, bytes) in out.chunks_exact_mut(channels).zip(bytes.chunks_exact(channels)) {
            for ((out, &byte), table) in out.iter_mut().zip(bytes).zip(&self.channels) {
                *out = table[usize::from(byte)];
            }
        }
    }
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
        let bytes = |len| Images::U8 { data: vec![0; len], scale: 1.0 };
        assert!(Split::new(bytes(8), vec![0, 1], [1, 2, 2]).is_ok());
        let error = Split::new(bytes(7), vec![0, 1], [1, 2, 2]).unwrap_err();
        assert_eq!(error.to_string(), "there are 2 labels for 1.75 images of [1, 2, 2]");
        assert!(Split::new(bytes(0), vec![], [1, 0, 2]).is_err());
        assert!(Split::new(bytes(0), vec![], [usize::MAX, 9, 2]).is_err());
        let split = Split::new(bytes(8), vec![0, 1], [1, 2, 2]).unwrap();
        assert_eq!(split.pixels(&[2], None).unwrap_err().to_string(), "there is no sample 2 among 2");
    }
}
