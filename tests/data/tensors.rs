//! Safetensors files.

use std::fs;

use safetensors::{Dtype, tensor::TensorView};
use tempfile::tempdir;
use wgrad::data::Normalization;

use crate::{check, load};

pub struct Tensor {
    name: &'static str,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn bytes(name: &'static str, shape: &[usize], bytes: &[u8]) -> Tensor {
    Tensor { name, dtype: Dtype::U8, shape: shape.to_vec(), bytes: bytes.to_vec() }
}

fn floats(name: &'static str, shape: &[usize], values: &[f32]) -> Tensor {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor { name, dtype: Dtype::F32, shape: shape.to_vec(), bytes }
}

fn longs(name: &'static str, values: &[i64]) -> Tensor {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor { name, dtype: Dtype::I64, shape: vec![values.len()], bytes }
}

/// Two images of two channels of 1x2 for training, one for testing.
fn good_tensors() -> Vec<Tensor> {
    vec![
        floats("train.images", &[2, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, -800.0]),
        longs("train.labels", &[1, 0]),
        floats("test.images", &[1, 2, 1, 2], &[9.0, 10.0, 11.0, 12.0]),
        longs("test.labels", &[1]),
    ]
}

fn serialize(tensors: &[Tensor]) -> Vec<u8> {
    let views = tensors.iter().map(|Tensor { name, dtype, shape, bytes }| {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        (*name, view.unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// The good tensors with some replaced.
pub fn with(changed: Vec<Tensor>) -> Vec<u8> {
    let mut tensors = good_tensors();
    for tensor in changed {
        tensors.retain(|old| old.name != tensor.name);
        tensors.push(tensor);
    }
    serialize(&tensors)
}

#[test]
fn tensors_round_trip() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("small.safetensors");
    fs::write(&path, with(vec![])).unwrap();
    let set = load("tensors", &path).unwrap();
    assert_eq!((set.name.as_str(), set.image, set.classes.len()), ("small", [2, 1, 2], 2));
    assert_eq!((set.train.labels(), set.test.labels()), (&[1, 0][..], &[1][..]));
    assert_eq!(set.train.pixels(&[1, 0], None).unwrap(), [5.0, 7.0, 6.0, -800.0, 1.0, 3.0, 2.0, 4.0]);
    assert_eq!(Normalization::of(&set.train).unwrap(), None);

    let images = [
        bytes("train.images", &[2, 2, 1, 2], &[0, 51, 255, 3, 0, 0, 0, 0]),
        bytes("test.images", &[1, 2, 1, 2], &[1; 4]),
    ];
    fs::write(&path, with(images.into())).unwrap();
    let set = load("tensors", &path).unwrap();
    assert_eq!(set.train.pixels(&[0], None).unwrap(), [0.0, 1.0, 51.0 * (1.0 / 255.0), 3.0 * (1.0 / 255.0)]);
    assert!(Normalization::of(&set.train).unwrap().is_some());
}

#[test]
fn labels_may_be_any_integers() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("labels.safetensors");
    let types = [
        (Dtype::U8, 1),
        (Dtype::I8, 1),
        (Dtype::U16, 2),
        (Dtype::I16, 2),
        (Dtype::U32, 4),
        (Dtype::I32, 4),
        (Dtype::U64, 8),
        (Dtype::I64, 8),
    ];
    for (dtype, size) in types {
        let mut bytes = vec![0; 2 * size];
        bytes[size] = 100;
        fs::write(&path, with(vec![Tensor { name: "train.labels", dtype, shape: vec![2], bytes }])).unwrap();
        let set = load("tensors", &path).unwrap();
        assert_eq!((set.train.labels(), set.classes.len()), (&[0, 100][..], 101), "{dtype:?}");
    }
}

/// A header whose tensors, each of a size that passes the crate's checks, end together at the last address.
fn endless() -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut start = 0;
    for size in [(1u64 << 61) - 1; 8].into_iter().chain([7]) {
        let tensor =
            serde_json::json!({"dtype": "U8", "shape": [size], "data_offsets": [start, start + size]});
        header.insert(format!("at {start}"), tensor);
        start += size;
    }
    assert_eq!(start, u64::MAX);
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header].concat()
}

#[test]
fn bad_tensors_are_named() {
    let mut infinite = [0.0; 8];
    infinite[6] = f32::INFINITY;
    let halves =
        Tensor { name: "train.images", dtype: Dtype::F16, shape: vec![2, 2, 1, 2], bytes: vec![0; 16] };
    let unsigned = Tensor { name: "train.labels", dtype: Dtype::U64, shape: vec![2], bytes: vec![0xff; 16] };
    let good = with(vec![]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "is truncated or not a safetensors file"),
        (b"PK\x03\x04 is a zip archive".to_vec(), "is truncated or not a safetensors file"),
        (good[..good.len() - 1].to_vec(), "lies beyond the end of the file"),
        ([good, vec![0]].concat(), "is truncated or not a safetensors file"),
        (endless(), "lies beyond the end of the file"),
        (serialize(&good_tensors()[..3]), "has no tensor \"test.labels\""),
        (serialize(&[longs("train.image", &[1])]), "has no tensor \"train.images\" (it has \"train.image\")"),
        (
            with(vec![floats("train.images", &[2, 4], &[0.0; 8])]),
            "train.images: has shape [2, 4], expected [N, C, H, W]",
        ),
        (with(vec![bytes("train.labels", &[2, 1], &[0; 2])]), "train.labels: has shape [2, 1], expected [N]"),
        (
            with(vec![longs("train.labels", &[0; 3])]),
            "train.labels: has 3 labels but train.images has 2 images",
        ),
        (
            with(vec![floats("train.images", &[0, 2, 1, 2], &[]), longs("train.labels", &[])]),
            "train.images: is empty: its shape is [0, 2, 1, 2]",
        ),
        (with(vec![floats("test.images", &[1, 0, 1, 2], &[])]), "test.images: is empty"),
        (
            with(vec![floats("train.images", &[2, 2, 1, 2], &[f32::NAN; 8])]),
            "train.images: element [0, 0, 0, 0] is NaN",
        ),
        (
            with(vec![floats("train.images", &[2, 2, 1, 2], &infinite)]),
            "train.images: element [1, 1, 0, 0] is inf",
        ),
        (with(vec![halves]), "train.images: is F16; save images as F32 or U8"),
        (
            with(vec![floats("train.labels", &[2], &[0.0; 2])]),
            "train.labels: is F32; save labels as integers",
        ),
        (
            with(vec![longs("train.labels", &[0, -1])]),
            "train.labels: label -1 of sample 1 is not in 0 to 99999",
        ),
        (
            with(vec![longs("train.labels", &[100_000, 0])]),
            "train.labels: label 100000 of sample 0 is not in 0 to 99999",
        ),
        (with(vec![unsigned]), "train.labels: label 9223372036854775807 of sample 0"),
        (
            with(vec![longs("test.labels", &[2])]),
            "test.labels: label 2 of sample 0 is not in train.labels, which end at 1",
        ),
        (
            with(vec![bytes("test.images", &[1, 2, 1, 2], &[0; 4])]),
            "train.images is F32 but test.images is U8",
        ),
        (
            with(vec![floats("test.images", &[1, 2, 2, 1], &[0.0; 4])]),
            "train.images are [2, 1, 2] but test.images are [2, 2, 1]",
        ),
    ];
    let dir = tempdir().unwrap();
    let path = dir.path().join("bad.safetensors");
    for (bytes, message) in cases {
        fs::write(&path, bytes).unwrap();
        check("tensors", &path, &["bad.safetensors: ", message]);
    }
    check("tensors", dir.path(), &["is a folder; expected a .safetensors file with train.images"]);
    check("tensors", &dir.path().join("none.safetensors"), &["no such file; expected a .safetensors file"]);
}
