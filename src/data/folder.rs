//! Image files in one folder per class.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::dataset::{Dataset, Parts};
use super::file::{bad, require_folder};
use super::image_file::{self, Header};
use super::split::{BYTE_SCALE, Images, Split, stratify};
use crate::error::{Error, Result};

const EXPECTED: &str = "one folder of images per class, or train/ and test/ (or val/) with such folders";

const EXTENSIONS: [&str; 13] =
    ["png", "jpg", "jpeg", "jfif", "gif", "bmp", "webp", "tif", "tiff", "pnm", "pbm", "pgm", "ppm"];

/// Data sets up to this many decoded bytes are kept in memory; larger ones are decoded batch by batch.
const DECODE_UP_FRONT: u64 = 1 << 30;

/// Files between two reports of progress; enough to keep every core busy.
const FILES_PER_REPORT: usize = 512;

type Progress<'a> = &'a dyn Fn(usize, usize);

pub(super) fn load(dir: &Path, seed: u64, progress: Progress) -> Result<Dataset> {
    load_within(DECODE_UP_FRONT, dir, seed, progress)
}

fn load_within(decode_up_front: u64, dir: &Path, seed: u64, progress: Progress) -> Result<Dataset> {
    require_folder(dir, EXPECTED)?;
    let Listing { classes, train, test } = list(dir, seed)?;
    let files: Vec<&PathBuf> = train.files.iter().chain(&test.files).collect();
    let image = survey(&files, progress)?;
    let total = files.len();
    let decoded = image.iter().fold(total as u64, |bytes, &dim| bytes.saturating_mul(dim as u64));
    let in_memory = decoded <= decode_up_front;
    let mut done = 0;
    let mut split = |samples: Samples| {
        let images = if in_memory {
            let data = decode_all(&samples.files, image, |more| {
                done += more;
                progress(done, total);
            })?;
            Images::U8 { data: Arc::new(data), scale: BYTE_SCALE }
        } else {
            Images::Files(samples.files)
        };
        Split::new(images, samples.labels, image)
    };
    let name = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Dataset::new(Parts { name, train: split(train)?, test: split(test)?, classes })
}

/// Files with their labels.
#[derive(Default)]
struct Samples {
    files: Vec<PathBuf>,
    labels: Vec<i32>,
}

impl Samples {
    fn pick(&self, samples: &[u32]) -> Samples {
        Samples {
            files: samples.iter().map(|&sample| self.files[sample as usize].clone()).collect(),
            labels: samples.iter().map(|&sample| self.labels[sample as usize]).collect(),
        }
    }
}

struct Listing {
    classes: Vec<String>,
    train: Samples,
    test: Samples,
}

fn list(dir: &Path, seed: u64) -> Result<Listing> {
    let folders = subfolders(dir)?;
    let named = |name: &str| folders.iter().find(|folder| folder.name == name);
    match (named("train"), named("test").or_else(|| named("val"))) {
        (Some(train), Some(test)) => list_pair(&train.path, &test.path),
        (Some(train), None) if !subfolders(&train.path)?.is_empty() => Err(bad(
            dir,
            format!(
                "has train/ but no test/ or val/ beside it; add one, or give \"folder:{}\" to hold out a fifth of it",
                train.path.display()
            ),
        )),
        _ => {
            let (classes, all) = list_classes(dir)?;
            let (train, test) = stratify(&all.labels, seed);
            if test.is_empty() {
                return Err(bad(
                    dir,
                    "has one image per class, so none can be held out for testing; add images",
                ));
            }
            Ok(Listing { classes, train: all.pick(&train), test: all.pick(&test) })
        }
    }
}

fn list_pair(train_dir: &Path, test_dir: &Path) -> Result<Listing> {
    let (classes, train) = list_classes(train_dir)?;
    let (test_classes, mut test) = list_classes(test_dir)?;
    let mut class_of = Vec::with_capacity(test_classes.len());
    for name in &test_classes {
        let Some(class) = classes.iter().position(|class| class == name) else {
            let message = format!(
                "class {name:?} is not in {}; every class needs training images",
                train_dir.display()
            );
            return Err(bad(test_dir, message));
        };
        class_of.push(class as i32);
    }
    for label in &mut test.labels {
        *label = class_of[*label as usize];
    }
    Ok(Listing { classes, train, test })
}

/// Class names in their order, and the files of all classes in theirs.
fn list_classes(dir: &Path) -> Result<(Vec<String>, Samples)> {
    let folders = subfolders(dir)?;
    if folders.is_empty() {
        return Err(bad(dir, format!("has no class folders; expected {EXPECTED}")));
    }
    let mut all = Samples::default();
    for (class, folder) in folders.iter().enumerate() {
        let files = image_files(&folder.path)?;
        if files.is_empty() {
            let message = format!("has no images ({}); fill or delete the folder", EXTENSIONS.join(", "));
            return Err(bad(&folder.path, message));
        }
        let label = i32::try_from(class).map_err(|_| bad(dir, "has too many class folders"))?;
        all.labels.extend(std::iter::repeat_n(label, files.len()));
        all.files.extend(files);
    }
    if u32::try_from(all.files.len()).is_err() {
        return Err(bad(dir, format!("has more than {} images", u32::MAX)));
    }
    Ok((folders.into_iter().map(|folder| folder.name).collect(), all))
}

struct Subfolder {
    name: String,
    path: PathBuf,
}

fn subfolders(dir: &Path) -> Result<Vec<Subfolder>> {
    let folders = visible(dir)?.into_iter().filter(|(_, path)| path.is_dir());
    Ok(folders.map(|(name, path)| Subfolder { name, path }).collect())
}

fn image_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let is_image = |path: &Path| {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str())) && !path.is_dir()
    };
    Ok(visible(dir)?.into_iter().map(|(_, path)| path).filter(|path| is_image(path)).collect())
}

/// The entries of a folder that are not hidden, sorted by name.
fn visible(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.push((name, entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}

/// The one size that all images have, and 1 channel where all are grey, else 3.
fn survey(files: &[&PathBuf], progress: Progress) -> Result<[usize; 3]> {
    let mut first: Option<Header> = None;
    let mut grey = true;
    for (part, paths) in files.chunks(FILES_PER_REPORT).enumerate() {
        let headers: Vec<Result<Header>> = paths.par_iter().map(|path| image_file::header(path)).collect();
        for (path, header) in paths.iter().zip(headers) {
            let header = header?;
            let expected = first.get_or_insert(header);
            if (header.width, header.height) != (expected.width, expected.height) {
                return Err(bad(
                    path,
                    format!(
                        "is {}x{} pixels but {} is {}x{}; resize all images of the data set to one size",
                        header.width,
                        header.height,
                        files[0].display(),
                        expected.width,
                        expected.height
                    ),
                ));
            }
            grey &= header.grey;
        }
        progress(part * FILES_PER_REPORT + paths.len(), files.len());
    }
    let Header { width, height, .. } = first.ok_or_else(|| Error::Data("there are no images".to_string()))?;
    Ok([if grey { 1 } else { 3 }, height, width])
}

/// The bytes of all files one after the other; `report` hears how many more are done.
fn decode_all(files: &[PathBuf], image: [usize; 3], mut report: impl FnMut(usize)) -> Result<Vec<u8>> {
    let size: usize = image.iter().product();
    let mut data = Vec::with_capacity(size * files.len());
    for paths in files.chunks(FILES_PER_REPORT) {
        let decoded: Vec<Result<Vec<u8>>> =
            paths.par_iter().map(|path| image_file::decode(path, image)).collect();
        for bytes in decoded {
            data.extend_from_slice(&bytes?);
        }
        report(paths.len());
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::Normalization;
    use super::*;

    #[test]
    fn large_sets_are_decoded_lazily_to_the_same_batches() {
        let dir = tempfile::tempdir().unwrap();
        for (class, name) in ["cat", "dog"].iter().enumerate() {
            fs::create_dir(dir.path().join(name)).unwrap();
            for number in 0..10u8 {
                let pixel =
                    |x, y| image::Rgb([x as u8 * 20, y as u8 * 30 + number, class as u8 * 100 + number]);
                let image = image::RgbImage::from_fn(5, 4, pixel);
                image.save(dir.path().join(name).join(format!("{number}.png"))).unwrap();
            }
        }
        let calls = Cell::new(0);
        let progress = |_, total| {
            assert_eq!(total, 20);
            calls.set(calls.get() + 1);
        };
        let eager = load_within(20 * 60, dir.path(), 3, &progress).unwrap();
        let lazy = load_within(20 * 60 - 1, dir.path(), 3, &progress).unwrap();
        assert_eq!(calls.get(), 4);
        assert!(matches!(eager.train.images(), Images::U8 { .. }));
        assert!(matches!(lazy.train.images(), Images::Files(_)));
        assert_eq!(eager.image, [3, 4, 5]);
        let normalization = Normalization::of(&eager.train).unwrap();
        assert_eq!(normalization, Normalization::of(&lazy.train).unwrap());
        let samples: Vec<u32> = (0..16).rev().collect();
        let pixels = |set: &Dataset| set.train.pixels(&samples, normalization.as_ref()).unwrap();
        assert_eq!(pixels(&eager), pixels(&lazy));
        assert_eq!(eager.train.labels(), lazy.train.labels());
    }
}
