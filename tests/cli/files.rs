//! Small data sets and models, written by the tests themselves.

use std::collections::HashMap;

use image::{GrayImage, Luma};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::Place;

/// Batch norm and dropout: what a checkpoint must carry besides parameters.
pub const DROPOUT_NET: &str = r#"
layers = [
  { conv2d = { out_channels = 4, kernel_size = 3, padding = 1, bias = false } }, "batch_norm", "relu",
  { max_pool2d = { kernel_size = 2 } },
  { dropout2d = { p = 0.2 } },
  "flatten",
  { dropout = { p = 0.5 } },
  { linear = { out_features = "classes" } },
]
"#;

/// A tensor of a file: name, type, shape, bytes.
pub struct Tensor(pub &'static str, pub Dtype, pub Vec<usize>, pub Vec<u8>);

pub fn bytes(name: &'static str, shape: &[usize], values: Vec<u8>) -> Tensor {
    Tensor(name, Dtype::U8, shape.to_vec(), values)
}

pub fn floats(name: &'static str, shape: &[usize], values: &[f32]) -> Tensor {
    Tensor(name, Dtype::F32, shape.to_vec(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

pub fn labels(name: &'static str, values: &[i64]) -> Tensor {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor(name, Dtype::I64, vec![values.len()], bytes)
}

pub fn serialize(tensors: &[Tensor], metadata: Option<HashMap<String, String>>) -> Vec<u8> {
    let views = tensors.iter().map(|Tensor(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, metadata).unwrap()
}

/// Images of 1x6x6 in three classes: a bright stripe at one of three heights, over a pattern.
pub fn stripes(count: usize) -> (Vec<u8>, Vec<i64>) {
    let mut pixels = vec![];
    for sample in 0..count {
        for place in 0..36 {
            let noise = (sample * 31 + place * 17) % 61;
            let bright = place / 12 == sample % 3;
            pixels.push((noise + if bright { 150 } else { 0 }) as u8);
        }
    }
    (pixels, (0..count as i64).map(|sample| sample % 3).collect())
}

/// 50 images for training, 20 for testing.
pub fn tiny_tensors() -> Vec<Tensor> {
    let (train, train_labels) = stripes(50);
    let (test, test_labels) = stripes(20);
    vec![
        bytes("train.images", &[50, 1, 6, 6], train),
        labels("train.labels", &train_labels),
        bytes("test.images", &[20, 1, 6, 6], test),
        labels("test.labels", &test_labels),
    ]
}

/// `tiny.safetensors` and `net.toml`.
pub fn write_tiny(place: &Place) {
    place.write("tiny.safetensors", serialize(&tiny_tensors(), None));
    place.write("net.toml", DROPOUT_NET);
}

/// The flags that train `net.toml` on `tiny.safetensors`: three steps an epoch.
pub const TINY: &str = "--data tensors:tiny.safetensors --model net.toml --batch-size 16 --device cpu";

/// An IDX file.
pub fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    bytes.extend_from_slice(data);
    bytes
}

/// Six training and three test images of 28x28 in the folder `mnist`.
pub fn write_mnist(place: &Place) {
    let images = |count: usize| (0..count * 784).map(|pixel| (pixel * 7 % 251) as u8).collect::<Vec<u8>>();
    place.write("mnist/train-images-idx3-ubyte", idx(&[6, 28, 28], &images(6)));
    place.write("mnist/train-labels-idx1-ubyte", idx(&[6], &[0, 1, 2, 3, 4, 9]));
    place.write("mnist/t10k-images-idx3-ubyte", idx(&[3, 28, 28], &images(3)));
    place.write("mnist/t10k-labels-idx1-ubyte", idx(&[3], &[5, 6, 7]));
}

/// Two images a batch in the folder `cifar`.
pub fn write_cifar(place: &Place) {
    let record = |label: u8| std::iter::once(label).chain((0..3072).map(|pixel| (pixel % 256) as u8));
    for batch in 1..=5 {
        let records: Vec<u8> = record(batch).chain(record(9)).collect();
        place.write(&format!("cifar/data_batch_{batch}.bin"), records);
    }
    place.write("cifar/test_batch.bin", record(3).collect::<Vec<u8>>());
}

/// A grey PNG whose pixels are `pixel(x, y)`.
pub fn write_png(place: &Place, name: &str, size: [u32; 2], pixel: impl Fn(u32, u32) -> u8) {
    place.write(name, []);
    GrayImage::from_fn(size[0], size[1], |x, y| Luma([pixel(x, y)])).save(place.path(name)).unwrap();
}

/// The folder `pets` with ten images in each of two classes.
pub fn write_pets(place: &Place) {
    for sample in 0..10 {
        write_png(place, &format!("pets/cat/{sample}.png"), [8, 6], |x, _| (x * 20 + sample) as u8);
        write_png(place, &format!("pets/dog/{sample}.png"), [8, 6], |_, y| (y * 40 + sample) as u8);
    }
}
