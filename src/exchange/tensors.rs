//! Tensors of ONNX files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

use safetensors::Dtype;

use super::proto::{TensorProto, data_type};
use crate::tensor::HostTensor;
use crate::train::weights;

/// A tensor of floats.
pub(super) fn floats(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, dims, data_type::FLOAT, bytes)
}

/// A list of integers.
pub(super) fn integers(name: &str, values: &[i64]) -> TensorProto {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, &[values.len()], data_type::INT64, bytes)
}

fn tensor(name: &str, dims: &[usize], data_type: i32, bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.to_string()),
        dims: dims.iter().map(|dim| *dim as i64).collect(),
        data_type: Some(data_type),
        raw_data: Some(bytes),
        ..Default::default()
    }
}

/// Most elements of a tensor that is read; kernels count in 32 bits.
const MOST_ELEMENTS: usize = 1 << 30;

/// Numbers in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array<T> {
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<T>,
}

impl<T> Array<T> {
    pub(super) fn list(values: Vec<T>) -> Array<T> {
        Array { dims: vec![values.len()], values }
    }
}

impl From<Array<f32>> for Content {
    fn from(array: Array<f32>) -> Content {
        Content::Floats(HostTensor::new(array.dims, array.values))
    }
}

impl From<Array<i64>> for Content {
    fn from(array: Array<i64>) -> Content {
        Content::Ints(array)
    }
}

/// How many elements there are of such sizes; none if they are too many, even if another size was not 0.
pub(super) fn count_of(dims: &[usize]) -> Option<usize> {
    let mut not_zero = dims.iter().filter(|dim| **dim != 0);
    let count = not_zero.try_fold(1_usize, |all, dim| all.checked_mul(*dim));
    let count = count.filter(|count| *count < MOST_ELEMENTS)?;
    Some(if dims.contains(&0) { 0 } else { count })
}

/// What a tensor of a file holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Floats(HostTensor),
    /// Truth is 1.
    Ints(Array<i64>),
    /// What is not read, and why.
    Unread(String),
}

/// Reads a tensor; `folder` is where files are that it may refer to.
///
/// # Errors
/// If its sizes are not those of its data, or it lies outside of the folder.
pub(super) fn content(tensor: &TensorProto, folder: &Path) -> Result<Content, String> {
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect();
    let dims = dims.ok_or_else(|| format!("has the sizes {:?}", tensor.dims))?;
    let count = count_of(&dims).ok_or_else(|| format!("has the sizes {dims:?}, 2^30 elements or more"))?;
    let kind = tensor.data_type.unwrap_or_default();
    let Some(size) = size_of(kind) else {
        let known = "f32, f64, f16, bf16, i32, i64 and bool are read";
        return Ok(Content::Unread(format!("is of type {kind}; {known}")));
    };
    let check = |len: usize| match len == count * size {
        true => Ok(()),
        false => Err(format!("has {len} bytes for {count} elements of {size} bytes")),
    };
    let outside = external(tensor, folder, &check)?;
    let raw = outside.as_deref().or(tensor.raw_data.as_deref()).filter(|raw| !raw.is_empty());
    if let Some(raw) = raw {
        check(raw.len())?;
    }
    let values: Vec<i64> = match (kind, raw) {
        (data_type::INT64, None) => tensor.int64_data.clone(),
        (data_type::INT64, Some(raw)) => numbers(raw, i64::from_le_bytes),
        (data_type::BOOL, Some(raw)) => raw.iter().map(|value| i64::from(*value != 0)).collect(),
        (data_type::INT32 | data_type::BOOL, None) => {
            tensor.int32_data.iter().map(|value| i64::from(*value)).collect()
        }
        (data_type::INT32, Some(raw)) => numbers(raw, |bytes| i64::from(i32::from_le_bytes(bytes))),
        (kind, raw) => {
            let values = floats_of(tensor, kind, raw);
            check_count(values.len(), count)?;
            return Ok(Content::Floats(HostTensor::new(dims, values)));
        }
    };
    check_count(values.len(), count)?;
    Ok(Content::Ints(Array { dims, values }))
}

fn check_count(found: usize, wanted: usize) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("has {found} elements for sizes of {wanted}")) }
}

fn size_of(kind: i32) -> Option<usize> {
    match kind {
        data_type::FLOAT | data_type::INT32 => Some(4),
        data_type::DOUBLE | data_type::INT64 => Some(8),
        data_type::FLOAT16 | data_type::BFLOAT16 => Some(2),
        data_type::BOOL => Some(1),
        _ => None,
    }
}

fn floats_of(tensor: &TensorProto, kind: i32, raw: Option<&[u8]>) -> Vec<f32> {
    if let Some(raw) = raw {
        let dtype = match kind {
            data_type::DOUBLE => Dtype::F64,
            data_type::FLOAT16 => Dtype::F16,
            data_type::BFLOAT16 => Dtype::BF16,
            _ => Dtype::F32,
        };
        return weights::floats(dtype, raw).unwrap_or_default();
    }
    // Halves that are not raw are the lower bits of 32-bit integers.
    let halves = || tensor.int32_data.iter().map(|value| *value as u16);
    match kind {
        data_type::DOUBLE => tensor.double_data.iter().map(|value| *value as f32).collect(),
        data_type::FLOAT16 => halves().map(|bits| half::f16::from_bits(bits).to_f32()).collect(),
        data_type::BFLOAT16 => halves().map(|bits| half::bf16::from_bits(bits).to_f32()).collect(),
        _ => tensor.float_data.clone(),
    }
}

fn numbers<T, const SIZE: usize>(raw: &[u8], convert: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    raw.as_chunks::<SIZE>().0.iter().map(|bytes| convert(*bytes)).collect()
}

/// The bytes of a tensor that lies in a file of its own, which is to be in the model's folder; `check` is asked for their
/// number before they are read.
fn external(
    tensor: &TensorProto,
    folder: &Path,
    check: &dyn Fn(usize) -> Result<(), String>,
) -> Result<Option<Vec<u8>>, String> {
    if tensor.data_location.unwrap_or_default() != 1 {
        return Ok(None);
    }
    let entry = |key: &str| {
        let entries = tensor.external_data.iter();
        entries.rev().find(|entry| entry.key.as_deref() == Some(key)).and_then(|entry| entry.value.clone())
    };
    let location = entry("location").ok_or("lies in another file that is not named")?;
    let path = Path::new(&location);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let outside = || format!("lies in {location:?}, outside of the model's folder; such files are not read");
    if !plain || location.contains('\\') {
        return Err(outside());
    }
    let unread = |error: std::io::Error| format!("lies in {location:?}, which cannot be read: {error}");
    // A link may lead elsewhere.
    let resolve = |path: &Path| std::fs::canonicalize(path).map_err(unread);
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let (root, file) = (resolve(folder)?, resolve(&folder.join(path))?);
    if !file.starts_with(&root) {
        return Err(outside());
    }
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => {
            text.parse::<u64>().map(Some).map_err(|_| format!("lies at {key} {text:?} of {location:?}"))
        }
    };
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    let mut file = File::open(file).map_err(unread)?;
    let available = file.metadata().map_err(unread)?.len().saturating_sub(offset);
    let length = length.unwrap_or(available);
    if length > available {
        return Err(format!(
            "has {length} bytes at {offset} of {location:?}, which ends {available} bytes after that"
        ));
    }
    check(usize::try_from(length).unwrap_or(usize::MAX))?;
    file.seek(SeekFrom::Start(offset)).map_err(unread)?;
    let mut bytes = vec![];
    file.take(length).read_to_end(&mut bytes).map_err(unread)?;
    Ok(Some(bytes))
}
