//! Files of `torch.save` (`.pt`, `.pth`): a state dict in a zip archive or, formerly, a stream of pickles. The crate
//! pytorch-reader interprets the few pickle operations that tensors need and runs no code.

use std::path::Path;

use pytorch_reader::{DType, PytorchReader, Tensor};
use safetensors::tensor::Dtype;

use super::weights::{TensorFile, floats};
use crate::error::{Error, Result};
use crate::tensor::HostTensor;

/// The key under which trainers save the weights beside other things.
const NESTED: &str = "state_dict";

/// Whether a file begins as `torch.save` begins one: as a zip archive, or formerly with a pickled magic number.
pub(super) fn begins_as_one(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9")
}

/// The tensors of a file in the order of their names; of one that nests them below `state_dict`, only those.
pub(super) fn read(path: &Path) -> Result<TensorFile> {
    let refused = |error: String| {
        Error::file(path, format!("cannot be read as a file of torch.save ({error}); {CONVERT}"))
    };
    let mut reader = PytorchReader::new(path).map_err(|error| refused(error.to_string()))?;
    let prefix = format!("{NESTED}.");
    if reader.keys().iter().any(|name| name.starts_with(&prefix)) {
        reader =
            PytorchReader::with_top_level_key(path, NESTED).map_err(|error| refused(error.to_string()))?;
    }
    let mut found: Vec<(String, Tensor)> = reader.into_tensors().into_iter().collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut file = TensorFile::default();
    for (name, tensor) in found {
        let bytes = tensor.read().map_err(|error| refused(format!("\"{name}\": {error}")))?;
        let dtype = match tensor.dtype() {
            DType::F64 => Dtype::F64,
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            DType::I64 => {
                let values = bytemuck::pod_collect_to_vec(&bytes);
                file.integers.insert(name, (tensor.shape().to_vec(), values));
                continue;
            }
            other => {
                return Err(Error::file(
                    path,
                    format!("holds \"{name}\" as {other:?}; weights must be floats"),
                ));
            }
        };
        let data = floats(dtype, &bytes).unwrap_or_default();
        file.tensors.insert(name, HostTensor::new(tensor.shape(), data));
    }
    Ok(file)
}

/// What helps with a file that the crate does not read.
const CONVERT: &str = "convert it: python -c \"import torch, safetensors.torch as s; s.save_file({k: v.contiguous() for \
    k, v in torch.load('FILE.pth', map_location='cpu', weights_only=True).items()}, 'FILE.safetensors')\"";

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/torch").join(name)
    }

    /// Written by `scripts/golden_torch.py`: views with strides and offsets, all types of floats, a counter.
    #[test]
    fn state_dicts_of_torch_save_are_read() {
        let eighths = |from: usize, to: usize| (from..to).map(|at| at as f32 / 8.0).collect::<Vec<f32>>();
        for name in ["zip.pth", "legacy.pth", "nested.pth"] {
            let file = TensorFile::read(&golden(name)).unwrap();
            let tensor = |name: &str| (file.tensors[name].shape.to_vec(), file.tensors[name].data.clone());
            assert_eq!(tensor("whole.weight"), (vec![2, 3, 2, 2], eighths(0, 24)), "{name}");
            let transposed = (0..24).map(|at| (at % 4 * 6 + at / 4) as f32 / 8.0).collect::<Vec<f32>>();
            assert_eq!(tensor("transposed.weight"), (vec![6, 4], transposed), "{name}");
            assert_eq!(tensor("part.bias"), (vec![4], eighths(5, 9)), "{name}");
            assert_eq!(tensor("half.weight"), (vec![3], vec![0.5, -1.25, 3.0]), "{name}");
            assert_eq!(tensor("bf16.weight"), (vec![2, 1], vec![0.5, -1.25]), "{name}");
            assert_eq!(tensor("double.weight"), (vec![2], vec![0.1, -7.5]), "{name}");
            assert_eq!((file.tensors.len(), file.integers["bn.num_batches_tracked"].1[0]), (6, 7), "{name}");
        }
    }

    #[test]
    fn damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.pth");
        for name in ["zip.pth", "legacy.pth"] {
            let whole = std::fs::read(golden(name)).unwrap();
            for at in (12..whole.len()).step_by(7) {
                std::fs::write(&path, &whole[..at]).unwrap();
                let message = TensorFile::read(&path).unwrap_err().to_string();
                assert!(message.contains("convert it: python -c"), "{message}");
                let mut changed = whole.clone();
                changed[at] ^= 0x55;
                std::fs::write(&path, changed).unwrap();
                // It may be read, with another number in it, but never ends the program.
                let _ = TensorFile::read(&path);
            }
        }
    }
}
