//! MNIST and Fashion-MNIST.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use tempfile::tempdir;
use wgrad::data::Normalization;

use crate::{bytes_of, check, load};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    bytes.extend_from_slice(data);
    bytes
}

/// Three training and two test images of 3x2.
pub fn write_idx(dir: &Path) {
    let pixels = |count: u8| (0..count * 6).collect::<Vec<u8>>();
    fs::write(dir.join("train-images-idx3-ubyte.gz"), gzip(&idx(&[3, 2, 3], &pixels(3)))).unwrap();
    fs::write(dir.join("train-labels-idx1-ubyte"), idx(&[3], &[9, 0, 4])).unwrap();
    fs::write(dir.join("t10k-images.idx3-ubyte"), idx(&[2, 2, 3], &pixels(2))).unwrap();
    fs::write(dir.join("t10k-labels.idx1-ubyte.gz"), gzip(&idx(&[2], &[1, 2]))).unwrap();
}

#[test]
fn idx_files_round_trip_under_all_their_names() {
    let dir = tempdir().unwrap();
    write_idx(dir.path());
    for (kind, class) in [("mnist", "9"), ("fashion-mnist", "ankle boot")] {
        let set = load(kind, dir.path()).unwrap();
        assert_eq!((set.name.as_str(), set.image, set.classes[9].as_str()), (kind, [1, 2, 3], class));
        assert_eq!((set.train.labels(), set.test.labels()), (&[9, 0, 4][..], &[1, 2][..]));
        assert_eq!(bytes_of(&set.train), (0..18).collect::<Vec<u8>>());
        let pixels: Vec<f32> = (6..12).map(|byte| byte as f32 * (1.0 / 255.0)).collect();
        assert_eq!(set.test.pixels(&[1], None).unwrap(), pixels);
    }
}

#[test]
fn bad_idx_files_are_named() {
    let images = "train-images-idx3-ubyte.gz";
    let good = idx(&[3, 2, 3], &[7; 18]);
    let huge = idx(&[u32::MAX, u32::MAX, u32::MAX], &[7; 18]);
    let cases: &[(&str, Vec<u8>, &str)] = &[
        (images, vec![], "is truncated: it ends before its header"),
        (images, good[..9].to_vec(), "is truncated: it ends before its header"),
        (images, good[..30].to_vec(), "is truncated or damaged: its header promises 3 x 2 x 3 bytes"),
        (images, gzip(&good[..30]), "is truncated: 3 x 2 x 3 bytes expected, 14 are there"),
        (
            images,
            gzip(&good)[..25].to_vec(),
            "train-images-idx3-ubyte.gz: is truncated: it ends before its header",
        ),
        (images, [good.clone(), vec![1]].concat(), "more bytes than the 3 x 2 x 3 of its header"),
        (images, gzip(&[good, vec![1; 5000]].concat()), "more bytes than the 3 x 2 x 3 of its header"),
        (images, huge.clone(), "its header promises 4294967295 x 4294967295 x 4294967295 bytes"),
        (images, gzip(&huge), "more than the file can hold; get it again"),
        (images, idx(&[1 << 20, 64, 64], &[]), "its header promises 1048576 x 64 x 64 bytes"),
        (
            images,
            b"<html><body>404".to_vec(),
            "is not an IDX file of images: it starts with [3c, 68, 74, 6d]",
        ),
        (images, vec![0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9], "is damaged"),
        (images, idx(&[3], &[1, 2, 3]), "is an IDX file of labels, expected one of images"),
        (images, idx(&[0, 2, 3], &[]), "holds no data: its header says 0 x 2 x 3"),
        (images, idx(&[2, 2, 3], &[7; 12]), "train-labels-idx1-ubyte: has 3 labels but"),
        (images, idx(&[3, 3, 2], &[7; 18]), "training images are 2x3 but test images are 3x2"),
        ("train-labels-idx1-ubyte", idx(&[3], &[1, 2, 10]), "label 10 of sample 2 is not in 0 to 9"),
        (
            "train-labels-idx1-ubyte",
            idx(&[1, 1, 3], &[1, 2, 3]),
            "is an IDX file of images, expected one of labels",
        ),
    ];
    for (name, bytes, message) in cases {
        let dir = tempdir().unwrap();
        write_idx(dir.path());
        fs::write(dir.path().join(name), bytes).unwrap();
        check("mnist", dir.path(), &[message, &dir.path().display().to_string()]);
    }
}

#[test]
fn missing_idx_files_are_named() {
    let dir = tempdir().unwrap();
    check(
        "mnist",
        &dir.path().join("none"),
        &["no such folder", "t10k-labels-idx1-ubyte", "LeCun", "mirrors"],
    );
    check("fashion-mnist", dir.path(), &["has no train-images-idx3-ubyte[.gz]", "Zalando"]);
    write_idx(dir.path());
    check("mnist", &dir.path().join("train-labels-idx1-ubyte"), &["is a file; expected a folder"]);
    fs::remove_file(dir.path().join("t10k-images.idx3-ubyte")).unwrap();
    check("mnist", dir.path(), &["has no t10k-images-idx3-ubyte[.gz]"]);
    fs::create_dir(dir.path().join("t10k-images.idx3-ubyte")).unwrap();
    check("mnist", dir.path(), &["t10k-images.idx3-ubyte: is a folder; expected an IDX file"]);
}

#[test]
fn real_mnist() {
    let fallback = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/datasets/mnist");
    let dir = std::env::var_os("WGRAD_MNIST").map_or(fallback, Into::into);
    if !dir.is_dir() {
        eprintln!("SKIPPED: real_mnist: {} does not exist; set WGRAD_MNIST", dir.display());
        return;
    }
    let set = load("mnist", &dir).unwrap();
    assert_eq!((set.train.len(), set.test.len(), set.image), (60_000, 10_000, [1, 28, 28]));
    assert_eq!(set.train.labels()[..5], [5, 0, 4, 1, 9]);
    // The numbers that every tutorial quotes.
    let normalization = Normalization::of(&set.train).unwrap().unwrap();
    assert!((normalization.mean[0] - 0.1307).abs() < 1e-4 && (normalization.std[0] - 0.3081).abs() < 1e-4);
}
