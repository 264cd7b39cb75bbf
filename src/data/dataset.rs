use std::path::PathBuf;

use super::IGNORE_INDEX;
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
    /// Files that were left out, each with the reason.
    pub skipped: Vec<String>,
}

/// How a data set is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadOptions {
    /// Draws the test split of those that have none of their own.
    pub seed: u64,
    /// The size that pictures of a folder are given; their own if left open, which must then be the same for all.
    pub size: Option<ImageSize>,
    /// Whether files that cannot be read are left out.
    pub skip_bad: bool,
    /// A file that keeps decoded pictures of a folder.
    pub cache: Option<PathBuf>,
}

/// The size that pictures are given: `Resize(shorter)` and `CenterCrop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// What the shorter side is resized to.
    pub shorter: usize,
    /// Side of the square that training takes; augmentation may crop from it.
    pub train: usize,
    /// Side of the square that the network takes.
    pub image: usize,
}

/// What a format's reader found.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) train: Split,
    pub(super) test: Split,
    pub(super) classes: Vec<String>,
    pub(super) skipped: Vec<String>,
}

impl Dataset {
    /// Reads the data set. `seed` draws the test split of those that have none of their own.
    ///
    /// `progress(done, total)` counts image files. It is called for folders only, on the calling thread, and runs to
    /// `total` twice when the images are decoded at once: first for sizes, then for pixels.
    pub fn load(source: &DataSource, seed: u64, progress: &dyn Fn(usize, usize)) -> Result<Dataset> {
        Dataset::load_with(source, &LoadOptions { seed, ..LoadOptions::default() }, progress)
    }

    /// [`Dataset::load`] with options.
    pub fn load_with(
        source: &DataSource,
        options: &LoadOptions,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Dataset> {
        let seed = options.seed;
        let of_folders = options.size.is_some() || options.skip_bad || options.cache.is_some();
        if of_folders && !matches!(source, DataSource::Folder(_)) {
            return Err(Error::Recipe(format!(
                "--image-size, --skip-bad and --cache are for pictures in folders (folder:DIR), not for {source}"
            )));
        }
        match source {
            DataSource::Digits => digits::load(seed),
            DataSource::Mnist(dir) => idx::load_mnist(dir),
            DataSource::FashionMnist(dir) => idx::load_fashion_mnist(dir),
            DataSource::Cifar10(dir) => cifar::load_cifar10(dir),
            DataSource::Cifar100(dir) => cifar::load_cifar100(dir),
            DataSource::Folder(dir) => folder::load(dir, options, progress),
            DataSource::Tensors(path) => tensors::load(path),
        }
    }

    /// Puts the parts together; the formats have checked their labels and sizes with messages of their own.
    pub(super) fn new(parts: Parts) -> Result<Dataset> {
        let Parts { name, train, test, classes, skipped } = parts;
        let image = test.image();
        let data = Dataset { name, train, test, classes, image, skipped };
        data.check()?;
        Ok(data)
    }

    /// Refuses what no run can use: splits without samples or of other images than the data set's, labels without a
    /// class. [`crate::train::Trainer::new`] does so too; it is for data sets that are put together by hand.
    ///
    /// # Errors
    /// The first that is wrong. Training images may be larger than the data set's, for crops; labels of training samples
    /// may be [`IGNORE_INDEX`].
    pub fn check(&self) -> Result<()> {
        let [channels, height, width] = self.image;
        for (split, part) in [(&self.train, "training"), (&self.test, "test")] {
            let wrong = |what: String| Err(Error::Data(format!("data set {}: {what}", self.name)));
            if split.is_empty() {
                return wrong(format!("there are no {part} samples"));
            }
            let [c, h, w] = split.image();
            let is_train = part == "training";
            let fits = c == channels && (is_train && h >= height && w >= width || [h, w] == [height, width]);
            if !fits {
                let (own, all) = (split.image(), self.image);
                return wrong(format!(
                    "its {part} samples are {own:?} (channels, height, width), not {all:?}"
                ));
            }
            let fits = |label: i32| {
                usize::try_from(label).map_or(is_train && label == IGNORE_INDEX, |at| at < self.classes.len())
            };
            if let Some((sample, label)) = split.labels().iter().enumerate().find(|(_, label)| !fits(**label))
            {
                let classes = self.classes.len();
                return wrong(format!(
                    "{part} sample {sample} has the label {label}; labels of {classes} classes count from 0"
                ));
            }
        }
        Ok(())
    }
}
