use super::source::DataSource;
use super::split::Split;
use super::{cifar, digits, folder, idx, tensors};
use crate::error::{Error, Result};

/// A data set in memory (or, for large image folders, its files), split into training and test samples.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// A short name for reports.
    pub name: String,
    /// The samples to train with.
    pub train: Split,
    /// The samples to evaluate with.
    pub test: Split,
    /// Class names; a label is an index into them.
    pub classes: Vec<String>,
    /// Channels, height and width of every image.
    pub image: [usize; 3],
}

/// What a format's reader found.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) train: Split,
    pub(super) test: Split,
    pub(super) classes: Vec<String>,
}

impl Dataset {
    /// Reads the data set. `seed` draws the test split of those that have none of their own.
    ///
    /// `progress(done, total)` counts image files. It is called for folders only, on the calling thread, and runs to
    /// `total` twice when the images are decoded at once: first for sizes, then for pixels.
    pub fn load(source: &DataSource, seed: u64, progress: &dyn Fn(usize, usize)) -> Result<Dataset> {
        match source {
            DataSource::Digits => digits::load(seed),
            DataSource::Mnist(dir) => idx::load_mnist(dir),
            DataSource::FashionMnist(dir) => idx::load_fashion_mnist(dir),
            DataSource::Cifar10(dir) => cifar::load_cifar10(dir),
            DataSource::Cifar100(dir) => cifar::load_cifar100(dir),
            DataSource::Folder(dir) => folder::load(dir, seed, progress),
            DataSource::Tensors(path) => tensors::load(path),
        }
    }

    /// Puts the parts together; the formats have checked their labels and sizes with messages of their own.
    pub(super) fn new(parts: Parts) -> Result<Dataset> {
        let Parts { name, train, test, classes } = parts;
        for (split, part) in [(&train, "training"), (&test, "test")] {
            if split.is_empty() {
                return Err(Error::Data(format!("data set {name}: there are no {part} samples")));
            }
        }
        let image = train.image();
        assert_eq!(image, test.image(), "a format gave training and test images of different sizes");
        Ok(Dataset { name, train, test, classes, image })
    }
}
