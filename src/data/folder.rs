//! Image files in one folder per class.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::dataset::{Dataset, ImageSize, LoadOptions, Parts};
use super::decoded::{self, Contents, StoredImages};
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

pub(super) fn load(dir: &Path, options: &LoadOptions, progress: Progress) -> Result<Dataset> {
    load_within(DECODE_UP_FRONT, dir, options, progress)
}

fn load_within(most: u64, dir: &Path, options: &LoadOptions, progress: Progress) -> Result<Dataset> {
    require_folder(dir, EXPECTED)?;
    let Listing { classes, train, test } = list(dir, options.seed)?;
    let name = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let reader = Reader { most, options, progress };
    let (train, test, skipped) = match &options.cache {
        Some(cache) => reader.cached(cache, &classes, [train, test])?,
        None => reader.decoded([train, test])?,
    };
    for (label, class) in classes.iter().enumerate() {
        if !train.labels().contains(&(label as i32)) {
            return Err(bad(dir, format!("none of the training images of class {class:?} can be read")));
        }
    }
    Dataset::new(Parts { name, train, test, classes, skipped })
}

/// Reads the files of a listing.
struct Reader<'a> {
    /// Decoded bytes up to which a data set is kept in memory.
    most: u64,
    options: &'a LoadOptions,
    progress: Progress<'a>,
}

/// What the headers of a folder's files say.
struct Survey {
    /// The training and test files that can be read.
    kept: [Samples; 2],
    /// Channels, height and width of training and test images.
    images: [[usize; 3]; 2],
    /// Why others were left out.
    skipped: Vec<String>,
}

impl Reader<'_> {
    /// Training and test split, in memory or as files, and what was left out.
    fn decoded(&self, parts: [Samples; 2]) -> Result<(Split, Split, Vec<String>)> {
        let Survey { kept: [train, test], images, skipped } = self.survey(parts)?;
        let total = train.files.len() + test.files.len();
        let bytes = |samples: &Samples, image: [usize; 3]| {
            image.iter().fold(samples.files.len() as u64, |bytes, &dim| bytes.saturating_mul(dim as u64))
        };
        let in_memory = bytes(&train, images[0]).saturating_add(bytes(&test, images[1])) <= self.most;
        let mut done = 0;
        let mut split = |samples: Samples, image| {
            let pixels = if in_memory {
                let mut data = Vec::with_capacity(bytes(&samples, image) as usize);
                self.decode_all(&samples.files, image, |bytes, more| {
                    data.extend_from_slice(bytes);
                    done += more;
                    (self.progress)(done, total);
                    Ok(())
                })?;
                Images::U8 { data: Arc::new(data), scale: BYTE_SCALE }
            } else {
                Images::Files(samples.files)
            };
            Ok(Split::new(pixels, samples.labels, image)?.resizing(self.shorter()))
        };
        Ok((split(train, images[0])?, split(test, images[1])?, skipped))
    }

    /// The same by way of a file of decoded images, which is made if it is not there or of something else.
    fn cached(
        &self,
        cache: &Path,
        classes: &[String],
        parts: [Samples; 2],
    ) -> Result<(Split, Split, Vec<String>)> {
        let LoadOptions { seed, size, skip_bad, .. } = self.options;
        let paths: Vec<&PathBuf> = parts.iter().flat_map(|samples| &samples.files).collect();
        let how = format!("{size:?}, skip-bad {skip_bad}, seed {seed}, classes {classes:?}");
        let key = decoded::key(&how, &paths)?;
        if let Some((contents, images)) = decoded::open(cache, &key)? {
            return self.of_cache(contents, images);
        }
        let Survey { kept: [train, test], images, skipped } = self.survey(parts)?;
        let contents = Contents { key: key.clone(), images, labels: [train.labels, test.labels], skipped };
        let (total, mut done) = (train.files.len() + test.files.len(), 0);
        decoded::write(cache, &contents, |put| {
            for (files, image) in [(&train.files, images[0]), (&test.files, images[1])] {
                self.decode_all(files, image, |bytes, more| {
                    done += more;
                    (self.progress)(done, total);
                    put(bytes).map_err(Error::io("write", cache))
                })?;
            }
            Ok(())
        })?;
        match decoded::open(cache, &key)? {
            Some((contents, images)) => self.of_cache(contents, images),
            None => Err(bad(cache, "was changed while it was written; run the command again")),
        }
    }

    fn of_cache(
        &self,
        contents: Contents,
        [train, test]: [StoredImages; 2],
    ) -> Result<(Split, Split, Vec<String>)> {
        let bytes = contents.bytes();
        let in_memory = bytes[0].saturating_add(bytes[1]) <= self.most;
        let split = |stored: StoredImages, bytes, labels, image| {
            let images = match in_memory {
                true => Images::U8 { data: Arc::new(stored.read_all(bytes)?), scale: BYTE_SCALE },
                false => Images::Stored(stored),
            };
            Split::new(images, labels, image)
        };
        let Contents { images, labels: [of_train, of_test], skipped, .. } = contents;
        let train = split(train, bytes[0], of_train, images[0])?;
        Ok((train, split(test, bytes[1], of_test, images[1])?, skipped))
    }

    fn shorter(&self) -> Option<usize> {
        self.options.size.map(|size| size.shorter)
    }

    /// Reads the headers of all files. All images must have one
    /// size, unless they are given one; they have 1 channel where all are grey, else 3.
    fn survey(&self, parts: [Samples; 2]) -> Result<Survey> {
        let total = parts[0].files.len() + parts[1].files.len();
        let mut first: Option<(Header, PathBuf)> = None;
        let (shorter, skip_bad) = (self.shorter(), self.options.skip_bad);
        let (mut grey, mut done, mut skipped) = (true, 0, vec![]);
        let mut kept = [Samples::default(), Samples::default()];
        for (part, kept) in parts.into_iter().zip(&mut kept) {
            for range in (0..part.files.len()).step_by(FILES_PER_REPORT) {
                let paths = &part.files[range..(range + FILES_PER_REPORT).min(part.files.len())];
                let headers: Vec<Result<Header>> =
                    paths.par_iter().map(|path| header(path, shorter, skip_bad)).collect();
                for (at, header) in headers.into_iter().enumerate() {
                    let header = match header {
                        Err(Error::Data(reason)) if skip_bad => {
                            skipped.push(reason);
                            continue;
                        }
                        header => header?,
                    };
                    let (expected, path) = first.get_or_insert_with(|| (header, paths[at].clone()));
                    if self.options.size.is_none() {
                        header.check_size(&paths[at], expected, path)?;
                    }
                    grey &= header.grey;
                    kept.files.push(paths[at].clone());
                    kept.labels.push(part.labels[range + at]);
                }
                done += paths.len();
                (self.progress)(done, total);
            }
        }
        let (Header { width, height, .. }, _) = first.ok_or_else(|| match skipped.first() {
            Some(reason) => Error::Data(format!("none of {total} images can be read; {reason}")),
            None => Error::Data("there are no images".to_string()),
        })?;
        let channels = if grey { 1 } else { 3 };
        let images = match self.options.size {
            Some(ImageSize { train, image, .. }) => [train, image].map(|side| [channels, side, side]),
            None => [[channels, height, width]; 2],
        };
        Ok(Survey { kept, images, skipped })
    }

    /// Hands over the bytes of all files in order, some at a time, with how many files they are.
    fn decode_all(
        &self,
        files: &[PathBuf],
        image: [usize; 3],
        mut put: impl FnMut(&[u8], usize) -> Result<()>,
    ) -> Result<()> {
        let shorter = self.shorter();
        for paths in files.chunks(FILES_PER_REPORT) {
            let decoded: Vec<Result<Vec<u8>>> =
                paths.par_iter().map(|path| image_file::decode(path, image, shorter)).collect();
            for bytes in decoded {
                put(&bytes?, 1)?;
            }
        }
        Ok(())
    }
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

pub(super) fn image_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let is_image = |path: &Path| {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str())) && !path.is_dir()
    };
    Ok(visible(dir)?.into_iter().map(|(_, path)| path).filter(|path| is_image(path)).collect())
}

/// The entries of a folder that are not hidden, sorted by name.
pub(super) fn visible(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
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

/// What a file says of itself; where bad ones are left out, it is decoded, to find them all before training begins.
fn header(path: &Path, shorter: Option<usize>, skip_bad: bool) -> Result<Header> {
    let header = image_file::header(path, shorter)?;
    if skip_bad {
        image_file::check(path)?;
    }
    Ok(header)
}

impl Header {
    fn check_size(&self, path: &Path, expected: &Header, first: &Path) -> Result<()> {
        if (self.width, self.height) == (expected.width, expected.height) {
            return Ok(());
        }
        let message = format!(
            "is {}x{} pixels but {} is {}x{}; give all one size with --image-size",
            self.width,
            self.height,
            first.display(),
            expected.width,
            expected.height
        );
        Err(bad(path, message))
    }
}

#[cfg(test)]
mod tests;
