//! CIFAR-10 and CIFAR-100, binary version: records of one or two label bytes and 3,072 bytes of pixels, plane by plane.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dataset::{Dataset, Parts};
use super::file::{bad, read, require_folder};
use super::split::{BYTE_SCALE, Images, Split};
use crate::error::Result;
use crate::tensor::{Layout, Shape};

const IMAGE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;

const CLASSES_10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// What tells CIFAR-10 from CIFAR-100.
struct Version {
    name: &'static str,
    /// The folder in the official archive.
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    /// Bytes before the pixels; the last one is the label.
    label_bytes: usize,
    names_file: &'static str,
    classes: usize,
}

const CIFAR_10: Version = Version {
    name: "cifar10",
    folder: "cifar-10-batches-bin",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    label_bytes: 1,
    names_file: "batches.meta.txt",
    classes: 10,
};

const CIFAR_100: Version = Version {
    name: "cifar100",
    folder: "cifar-100-binary",
    train: &["train.bin"],
    test: "test.bin",
    label_bytes: 2,
    names_file: "fine_label_names.txt",
    classes: 100,
};

pub(super) fn load_cifar10(dir: &Path) -> Result<Dataset> {
    CIFAR_10.load(dir)
}

pub(super) fn load_cifar100(dir: &Path) -> Result<Dataset> {
    CIFAR_100.load(dir)
}

impl Version {
    fn load(&self, dir: &Path) -> Result<Dataset> {
        require_folder(dir, &self.expected())?;
        let inner = dir.join(self.folder);
        let dir = if inner.is_dir() { inner } else { dir.to_path_buf() };
        let train: Vec<PathBuf> = self.train.iter().map(|name| dir.join(name)).collect();
        let test = [dir.join(self.test)];
        for path in train.iter().chain(&test) {
            if !path.exists() {
                let name = path.file_name().unwrap_or_default().display();
                return Err(bad(&dir, format!("has no {name}; expected {}", self.expected())));
            }
        }
        let classes = self.class_names(&dir)?;
        let (train, test) = (self.load_split(&train)?, self.load_split(&test)?);
        Dataset::new(Parts { name: self.name.to_string(), train, test, classes, skipped: vec![] })
    }

    fn expected(&self) -> String {
        let train = match self.train {
            [only] => only.to_string(),
            [first, .., last] => format!("{first} to {last}"),
            [] => String::new(),
        };
        format!(
            "{train} and {}: the \"binary version (suitable for C programs)\" of Krizhevsky's {} data set, from the \
             University of Toronto, unpacked",
            self.test,
            self.name.to_uppercase().replace("CIFAR", "CIFAR-")
        )
    }

    fn load_split(&self, paths: &[PathBuf]) -> Result<Split> {
        let record = self.label_bytes + PIXELS;
        let (mut labels, mut planar) = (Vec::new(), Vec::new());
        for path in paths {
            let bytes = read(path, &self.expected())?;
            if bytes.is_empty() || bytes.len() % record != 0 {
                return Err(bad(
                    path,
                    format!(
                        "is truncated or not of the binary version: {} bytes are no whole number of {record}-byte \
                         records; get it again",
                        bytes.len()
                    ),
                ));
            }
            for (index, record) in bytes.chunks_exact(record).enumerate() {
                let (label, pixels) = record.split_at(self.label_bytes);
                let label = label.last().copied().unwrap_or_default();
                if usize::from(label) >= self.classes {
                    return Err(bad(
                        path,
                        format!(
                            "label {label} of record {index} is not in 0 to {}; get the file again",
                            self.classes - 1
                        ),
                    ));
                }
                labels.push(i32::from(label));
                planar.extend_from_slice(pixels);
            }
        }
        let layout = Layout::of(&Shape::from([labels.len(), IMAGE[0], IMAGE[1], IMAGE[2]]));
        Split::new(
            Images::U8 { data: Arc::new(layout.to_physical(&planar)), scale: BYTE_SCALE },
            labels,
            IMAGE,
        )
    }

    fn class_names(&self, dir: &Path) -> Result<Vec<String>> {
        let path = dir.join(self.names_file);
        if !path.exists() {
            return Ok(match self.classes {
                10 => CLASSES_10.map(String::from).to_vec(),
                classes => (0..classes).map(|class| class.to_string()).collect(),
            });
        }
        let text = read(&path, "a list of class names")?;
        let text = String::from_utf8(text)
            .map_err(|_| bad(&path, "is not text; expected one class name per line"))?;
        let names: Vec<String> =
            text.lines().map(|line| line.trim().to_string()).filter(|name| !name.is_empty()).collect();
        if names.len() != self.classes {
            return Err(bad(&path, format!("has {} class names, expected {}", names.len(), self.classes)));
        }
        Ok(names)
    }
}
