//! Images and labels as tensors of one safetensors file.

use std::path::Path;
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::dataset::{Dataset, Parts};
use super::file::{bad, read};
use super::split::{BYTE_SCALE, Images, Split};
use crate::error::{Result, nearest};
use crate::tensor::{Layout, Shape};

/// More classes than any real data set of images has: a label beyond is taken for a mistake.
const MOST_CLASSES: i64 = 100_000;

const EXPECTED: &str = "a .safetensors file with train.images, train.labels, test.images and test.labels";

pub(super) fn load(path: &Path) -> Result<Dataset> {
    let bytes = read(path, EXPECTED)?;
    check_offsets(path, &bytes)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| {
        bad(path, format!("is truncated or not a safetensors file ({error}); expected {EXPECTED}"))
    })?;
    let reader = Reader { path, file };
    let (train, train_dtype) = reader.split("train")?;
    let classes = train.labels().iter().max().map_or(0, |&label| label as usize + 1);
    let (test, test_dtype) = reader.split("test")?;
    if train_dtype != test_dtype {
        let message =
            format!("train.images is {train_dtype:?} but test.images is {test_dtype:?}; save both alike");
        return Err(bad(path, message));
    }
    if train.image() != test.image() {
        let message = format!("train.images are {:?} but test.images are {:?}", train.image(), test.image());
        return Err(bad(path, message));
    }
    if let Some(sample) = test.labels().iter().position(|&label| label as usize >= classes) {
        let label = test.labels()[sample];
        return Err(bad(
            path,
            format!(
                "test.labels: label {label} of sample {sample} is not in train.labels, which end at {}",
                classes - 1
            ),
        ));
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let classes = (0..classes).map(|class| class.to_string()).collect();
    Dataset::new(Parts { name, train, test, classes, skipped: vec![] })
}

/// Refuses offsets beyond the file before the crate adds to them: with overflow checks on, an end near `usize::MAX`
/// would panic there. What is no header at all is left for the crate to name.
fn check_offsets(path: &Path, bytes: &[u8]) -> Result<()> {
    let Some((len, rest)) = bytes.split_first_chunk::<8>() else { return Ok(()) };
    let Some(header) = usize::try_from(u64::from_le_bytes(*len)).ok().and_then(|len| rest.get(..len)) else {
        return Ok(());
    };
    let Ok(serde_json::Value::Object(entries)) = serde_json::from_slice(header) else { return Ok(()) };
    for (name, entry) in &entries {
        let end = entry.get("data_offsets").and_then(|offsets| offsets.get(1)).and_then(|end| end.as_u64());
        if end.is_some_and(|end| end > (rest.len() - header.len()) as u64) {
            return Err(bad(
                path,
                format!("is truncated or damaged: tensor {name:?} lies beyond the end of the file"),
            ));
        }
    }
    Ok(())
}

struct Reader<'a> {
    path: &'a Path,
    file: SafeTensors<'a>,
}

impl Reader<'_> {
    fn split(&self, part: &str) -> Result<(Split, Dtype)> {
        let (images_name, labels_name) = (format!("{part}.images"), format!("{part}.labels"));
        let (images, labels) = (self.tensor(&images_name)?, self.tensor(&labels_name)?);
        let &[n, c, h, w] = images.shape() else {
            return Err(
                self.bad(&images_name, format!("has shape {:?}, expected [N, C, H, W]", images.shape()))
            );
        };
        let &[label_count] = labels.shape() else {
            return Err(self.bad(&labels_name, format!("has shape {:?}, expected [N]", labels.shape())));
        };
        if n != label_count {
            return Err(
                self.bad(&labels_name, format!("has {label_count} labels but {images_name} has {n} images"))
            );
        }
        if [n, c, h, w].contains(&0) {
            return Err(self.bad(&images_name, format!("is empty: its shape is {:?}", images.shape())));
        }
        let pixels = self.images(&images_name, &images)?;
        let labels = self.labels(&labels_name, &labels)?;
        Ok((Split::new(pixels, labels, [c, h, w])?, images.dtype()))
    }

    fn images(&self, name: &str, tensor: &TensorView) -> Result<Images> {
        let layout = Layout::of(&Shape::from(tensor.shape()));
        match tensor.dtype() {
            Dtype::U8 => {
                Ok(Images::U8 { data: Arc::new(layout.to_physical(tensor.data())), scale: BYTE_SCALE })
            }
            Dtype::F32 => {
                let values: Vec<f32> = numbers(tensor, f32::from_le_bytes).collect();
                if let Some(first) = values.iter().position(|value| !value.is_finite()) {
                    let index = index_of(first, tensor.shape());
                    return Err(self.bad(
                        name,
                        format!("element {index:?} is {}; every pixel must be finite", values[first]),
                    ));
                }
                Ok(Images::F32(Arc::new(layout.to_physical(&values))))
            }
            other => Err(self.bad(name, format!("is {other:?}; save images as F32 or U8"))),
        }
    }

    fn labels(&self, name: &str, tensor: &TensorView) -> Result<Vec<i32>> {
        let labels: Vec<i64> = match tensor.dtype() {
            Dtype::U8 => numbers(tensor, |b| u8::from_le_bytes(b).into()).collect(),
            Dtype::I8 => numbers(tensor, |b| i8::from_le_bytes(b).into()).collect(),
            Dtype::U16 => numbers(tensor, |b| u16::from_le_bytes(b).into()).collect(),
            Dtype::I16 => numbers(tensor, |b| i16::from_le_bytes(b).into()).collect(),
            Dtype::U32 => numbers(tensor, |b| u32::from_le_bytes(b).into()).collect(),
            Dtype::I32 => numbers(tensor, |b| i32::from_le_bytes(b).into()).collect(),
            Dtype::U64 => {
                numbers(tensor, |b| i64::try_from(u64::from_le_bytes(b)).unwrap_or(i64::MAX)).collect()
            }
            Dtype::I64 => numbers(tensor, i64::from_le_bytes).collect(),
            other => {
                return Err(self.bad(name, format!("is {other:?}; save labels as integers, such as I64")));
            }
        };
        if let Some(sample) = labels.iter().position(|label| !(0..MOST_CLASSES).contains(label)) {
            let label = labels[sample];
            return Err(self
                .bad(name, format!("label {label} of sample {sample} is not in 0 to {}", MOST_CLASSES - 1)));
        }
        Ok(labels.into_iter().map(|label| label as i32).collect())
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        self.file.tensor(name).map_err(|_| {
            let mut names = self.file.names();
            names.sort_unstable();
            let hint = nearest(name, names.iter().copied().filter(|name| !name.is_empty()));
            let hint = hint.map(|near| format!(" (it has {near:?})")).unwrap_or_default();
            bad(self.path, format!("has no tensor {name:?}{hint}; expected {EXPECTED}"))
        })
    }

    fn bad(&self, tensor: &str, message: String) -> crate::Error {
        bad(self.path, format!("{tensor}: {message}"))
    }
}

/// The elements of a tensor, whose bytes lie unaligned in the file.
fn numbers<'a, T, const SIZE: usize>(
    tensor: &TensorView<'a>,
    convert: impl Fn([u8; SIZE]) -> T + 'a,
) -> impl Iterator<Item = T> + 'a {
    tensor.data().as_chunks::<SIZE>().0.iter().map(move |bytes| convert(*bytes))
}

fn index_of(mut element: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&dim| {
            let place = element % dim;
            element /= dim;
            place
        })
        .collect();
    index.reverse();
    index
}
