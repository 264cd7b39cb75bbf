//! Golden files: .safetensors with f32 and i32 tensors in PyTorch's layout and with JSON in the metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use safetensors::{Dtype, SafeTensors};
use wgrad::graph::{Real, TensorDesc};
use wgrad::plan::PageSet;
use wgrad::tensor::{Layout, Shape};

/// A file of `tests/goldens/`.
pub struct Golden {
    pub tensors: BTreeMap<String, Tensor>,
    pub metadata: HashMap<String, String>,
}

/// A tensor in row-major order.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub desc: TensorDesc,
    pub floats: Vec<f32>,
    pub ints: Vec<i32>,
}

pub fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

/// The files of a folder of `tests/goldens/`, by stem.
pub fn files(folder: &str) -> Vec<(String, Golden)> {
    let entries = std::fs::read_dir(directory().join(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (stem(path), Golden::read(path))).collect()
}

impl Golden {
    fn read(path: &PathBuf) -> Golden {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let words = |data: &[u8]| -> Vec<[u8; 4]> {
            data.chunks_exact(4).map(|word| word.try_into().unwrap()).collect()
        };
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = tensors.iter().map(|(name, view)| {
            let (shape, words) = (Shape::from(view.shape()), words(view.data()));
            let tensor = match view.dtype() {
                Dtype::F32 => Tensor {
                    desc: TensorDesc::f32(shape),
                    floats: words.into_iter().map(f32::from_le_bytes).collect(),
                    ints: vec![],
                },
                Dtype::I32 => Tensor {
                    desc: TensorDesc::i32(shape),
                    floats: vec![],
                    ints: words.into_iter().map(i32::from_le_bytes).collect(),
                },
                other => panic!("{name} is {other:?}"),
            };
            (name.to_string(), tensor)
        });
        Golden { tensors: tensors.collect(), metadata: header.metadata().clone().unwrap_or_default() }
    }
}

impl Tensor {
    pub fn shape(&self) -> &Shape {
        &self.desc.shape
    }

    /// The floats in a session's type and layout.
    pub fn physical<T: Real>(&self) -> Vec<T> {
        let floats: Vec<T> = self.floats.iter().map(|x| T::of(f64::from(*x))).collect();
        if floats.is_empty() { floats } else { Layout::of(self.shape()).to_physical(&floats) }
    }

    /// The tensor at a place of a stack.
    pub fn at(&self, index: usize) -> Tensor {
        let shape = Shape::from(&self.shape()[1..]);
        let (skip, take) = (index * shape.numel(), shape.numel());
        Tensor {
            floats: self.floats.iter().skip(skip).take(take).copied().collect(),
            ints: self.ints.iter().skip(skip).take(take).copied().collect(),
            desc: TensorDesc { shape, dtype: self.desc.dtype },
        }
    }

    /// Compares values in physical order with this tensor: |got - want| <= atol + 1e-5 |want|.
    pub fn compare(&self, got: &[f64], atol: f64) -> Result<(), String> {
        let got = Layout::of(self.shape()).to_logical(got);
        let mut worst: Option<(f64, String)> = None;
        for (at, (got, want)) in got.iter().zip(&self.floats).enumerate() {
            let want = f64::from(*want);
            let excess = (got - want).abs() / (atol + 1e-5 * want.abs());
            let is_worse = worst.as_ref().is_none_or(|(other, _)| excess > *other);
            if (excess > 1.0 || excess.is_nan()) && is_worse {
                worst =
                    Some((excess, format!("[{at}] is {got}, PyTorch has {want}, {excess:.1} times too far")));
            }
        }
        worst.map_or(Ok(()), |(_, message)| Err(message))
    }
}

/// The pages of a set, filled with the tensors of a file, whose names there begin with `prefix`.
pub fn pages(set: &PageSet, file: &BTreeMap<String, Tensor>, prefix: &str) -> Result<Vec<Vec<f32>>, String> {
    let mut pages = set.zeroed();
    for place in set.places(&mut pages) {
        let (name, shape) = (place.name, place.shape);
        let tensor = file.get(&format!("{prefix}{name}")).ok_or(format!("PyTorch has no {name} {shape}"))?;
        if tensor.shape() != shape {
            return Err(format!("{name} is {shape}, PyTorch has {}", tensor.shape()));
        }
        place.write(&tensor.floats);
    }
    Ok(pages)
}
