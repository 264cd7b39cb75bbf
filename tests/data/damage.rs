//! Files that are cut and overwritten at random: an error or a usable data set, never a panic.

use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use proptest::prelude::*;
use tempfile::tempdir;
use wgrad::data::{Normalization, read_image};

use crate::cifar::write_cifar10;
use crate::idx::write_idx;
use crate::load;
use crate::tensors::with;

/// Cuts the file and overwrites some bytes.
fn damage(mut bytes: Vec<u8>, cut: usize, changes: &[(usize, u8)]) -> Vec<u8> {
    bytes.truncate(bytes.len() - cut % bytes.len());
    let len = bytes.len();
    for (place, byte) in changes {
        bytes[place % len] = *byte;
    }
    bytes
}

/// One file of a good data set and how to read it back.
fn victims(dir: &Path) -> Vec<(&'static str, &'static str, PathBuf)> {
    write_idx(dir);
    write_cifar10(dir);
    fs::write(dir.join("all.safetensors"), with(vec![])).unwrap();
    [
        ("mnist", "train-images-idx3-ubyte.gz", ""),
        ("mnist", "train-labels-idx1-ubyte", ""),
        ("mnist", "t10k-images.idx3-ubyte", ""),
        ("mnist", "t10k-labels.idx1-ubyte.gz", ""),
        ("cifar10", "data_batch_2.bin", ""),
        ("tensors", "all.safetensors", "all.safetensors"),
    ]
    .map(|(kind, victim, source)| (kind, victim, dir.join(source)))
    .to_vec()
}

/// 200 cases, or as many as the variable `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() {
        config
    } else {
        ProptestConfig { cases: 200, ..config }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn damaged_files_never_panic(
        cut in prop_oneof![3 => Just(0usize), 1 => 0usize..100, 1 => any::<usize>()],
        near_start in any::<bool>(),
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 0..6),
    ) {
        let changes: Vec<_> = changes.into_iter().map(|(at, byte)| (if near_start { at % 64 } else { at }, byte)).collect();
        let dir = tempdir().unwrap();
        for (kind, victim, source) in victims(dir.path()) {
            let good = fs::read(dir.path().join(victim)).unwrap();
            fs::write(dir.path().join(victim), damage(good.clone(), cut, &changes)).unwrap();
            if let Ok(set) = load(kind, &source) {
                // What is accepted must be usable.
                Normalization::of(&set.train).unwrap();
                set.test.pixels(&[0], None).unwrap();
            }
            fs::write(dir.path().join(victim), good).unwrap();
        }
    }

    #[test]
    fn damaged_images_never_panic(
        format in prop::sample::select(vec!["png", "jpg", "gif", "bmp", "webp", "tiff", "ppm"]),
        cut in prop_oneof![3 => Just(0usize), 1 => any::<usize>()],
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 0..6),
    ) {
        let dir = tempdir().unwrap();
        let path = dir.path().join(format!("image.{format}"));
        RgbImage::from_fn(9, 7, |x, y| Rgb([x as u8 * 25, y as u8 * 30, (x * y) as u8])).save(&path).unwrap();
        let good = fs::read(&path).unwrap();
        fs::write(&path, damage(good, cut, &changes)).unwrap();
        if let Ok(image) = read_image(&path, [3, 7, 9]) {
            prop_assert_eq!(image.pixels.len(), 189);
        }
    }
}
