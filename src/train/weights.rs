//! Named tensors in safetensors files, in PyTorch's names, shapes and layouts.

use std::collections::HashMap;
use std::path::Path;

use indexmap::IndexMap;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::torch_file;
use crate::error::{Error, Result, nearest};
use crate::files;
use crate::graph::{Graph, NodeKind};
use crate::plan::{PageSet, Pages};
use crate::tensor::{CounterRng, HostTensor, Purpose, Shape};

/// Named tensors, in order.
pub type Tensors = IndexMap<String, HostTensor>;

/// The initial parameters and running statistics of a graph, drawn by the seed; in PyTorch's order.
pub fn initial(graph: &Graph, seed: u64) -> Tensors {
    let drawn = graph.nodes().par_iter().filter_map(|node| {
        let shape = node.outputs.first().map(|desc| desc.shape.clone()).unwrap_or_default();
        let data = match node.kind {
            NodeKind::Parameter(init) => {
                init.sample(&shape, &mut CounterRng::new(seed, Purpose::Init, &node.name, 0))
            }
            NodeKind::Statistic(start) => vec![start; shape.numel()],
            _ => return None,
        };
        Some((node.name.clone(), HostTensor::new(shape, data)))
    });
    drawn.collect::<Vec<_>>().into_iter().collect()
}

/// All parameters and running statistics as zeros, for values that are about to come.
pub fn zeros(pages: &Pages) -> Tensors {
    let stored = pages.parameters.tensors().iter().chain(pages.statistics.tensors());
    let zeros = |shape: &Shape| HostTensor::new(shape.clone(), vec![0.0; shape.numel()]);
    stored.map(|(name, shape, _)| (name.clone(), zeros(shape))).collect()
}

/// Pages filled from named tensors; what is not named stays zero.
pub fn to_pages(set: &PageSet, tensors: &Tensors) -> Vec<Vec<f32>> {
    let mut pages = set.zeroed();
    set.places(&mut pages).into_par_iter().for_each(|place| {
        if let Some(tensor) = tensors.get(place.name) {
            place.write(&tensor.data);
        }
    });
    pages
}

/// Named tensors from pages.
pub fn from_pages(set: &PageSet, pages: &[Vec<f32>]) -> Tensors {
    set.load(pages).map(|(name, tensor)| (name.to_string(), tensor)).collect()
}

/// A file's tensors and its metadata.
#[derive(Debug, Default)]
pub struct TensorFile {
    /// The float tensors.
    pub tensors: Tensors,
    /// Integers with their shapes: PyTorch's batch counters (`...num_batches_tracked`), labels.
    pub integers: IndexMap<String, (Vec<usize>, Vec<i64>)>,
    /// The file's string map.
    pub metadata: HashMap<String, String>,
}

impl TensorFile {
    /// Writes a file atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        let damaged = |error| Error::file(path, format!("cannot be written: {error}"));
        let mut views = vec![];
        for (name, tensor) in &self.tensors {
            let bytes = bytemuck::cast_slice(&tensor.data);
            views.push((
                name.clone(),
                TensorView::new(Dtype::F32, tensor.shape.to_vec(), bytes).map_err(damaged)?,
            ));
        }
        for (name, (shape, values)) in &self.integers {
            let bytes = bytemuck::cast_slice(values);
            views.push((name.clone(), TensorView::new(Dtype::I64, shape.clone(), bytes).map_err(damaged)?));
        }
        let bytes = safetensors::serialize(views, Some(self.metadata.clone())).map_err(damaged)?;
        files::write_bytes(path, bytes)
    }

    /// Reads a safetensors file, or one of `torch.save`; f64, f16 and bf16 tensors become f32.
    pub fn read(path: &Path) -> Result<TensorFile> {
        let bytes = files::read(path)?;
        if torch_file::begins_as_one(&bytes) {
            drop(bytes);
            return torch_file::read(path);
        }
        let damaged = |error: String| {
            Error::file(
                path,
                format!(
                    "is not a whole safetensors file ({error}); it may be truncated or of another format"
                ),
            )
        };
        check_header(&bytes).map_err(damaged)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
        let mut read =
            TensorFile { metadata: header.metadata().clone().unwrap_or_default(), ..Default::default() };
        let mut views: Vec<(&str, TensorView<'_>)> = file.iter().collect();
        views.sort_by_key(|(_, view)| view.data().as_ptr() as usize);
        for (name, view) in views {
            if view.dtype() == Dtype::I64 {
                let values = bytemuck::pod_collect_to_vec(view.data());
                read.integers.insert(name.to_string(), (view.shape().to_vec(), values));
                continue;
            }
            let data = floats(view.dtype(), view.data()).ok_or_else(|| {
                Error::file(path, format!("holds \"{name}\" as {:?}; weights must be floats", view.dtype()))
            })?;
            read.tensors.insert(name.to_string(), HostTensor::new(view.shape(), data));
        }
        Ok(read)
    }
}

/// Refuses offsets beyond the file before the safetensors crate adds them up, which can overflow.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err("it has no header".to_string());
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let header =
        header.ok_or_else(|| format!("its header claims {length} bytes, the file has {}", rest.len()))?;
    let entries: HashMap<String, serde_json::Value> =
        serde_json::from_slice(header).map_err(|error| format!("its header is damaged: {error}"))?;
    let data = (rest.len() - header.len()) as u64;
    for (name, entry) in entries.iter().filter(|(name, _)| *name != "__metadata__") {
        let offsets = entry.get("data_offsets").and_then(|offsets| offsets.as_array());
        let end = offsets.and_then(|offsets| offsets.get(1)).and_then(|end| end.as_u64());
        if end.is_none_or(|end| end > data) {
            return Err(format!("\"{name}\" reaches beyond the file's {data} bytes of data"));
        }
    }
    Ok(())
}

/// Little-endian numbers as f32; none if they are no floats.
pub fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => bytemuck::pod_collect_to_vec(bytes),
        Dtype::F64 => bytes
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().unwrap_or_default()) as f32)
            .collect(),
        Dtype::BF16 => {
            bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
        }
        Dtype::F16 => {
            bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
        }
        _ => return None,
    })
}

/// What a file of weights had that the model has not, and the reverse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Tensors of the model that the file does not have; they keep their initial values.
    pub missing: Vec<String>,
    /// Tensors of the file that the model does not have.
    pub unused: Vec<String>,
}

/// Overwrites `tensors` by those of the file with the same names.
///
/// # Errors
/// If a shape differs, if a value is not finite, or if no name agrees.
pub fn merge(tensors: &mut Tensors, file: &TensorFile, path: &Path) -> Result<Leftovers> {
    let mut leftovers = Leftovers::default();
    for (name, tensor) in tensors.iter_mut() {
        let found = file.tensors.get(name);
        if found.is_some_and(|found| !found.data.iter().all(|value| value.is_finite())) {
            return Err(Error::file(path, format!("holds NaN or infinity in \"{name}\"")));
        }
        match found {
            None => leftovers.missing.push(name.clone()),
            Some(found) if found.shape == tensor.shape => *tensor = found.clone(),
            Some(found) => {
                return Err(Error::file(path, shape_message(name, &found.shape, &tensor.shape)));
            }
        }
    }
    let unused = file.tensors.keys().filter(|name| !tensors.contains_key(*name));
    leftovers.unused.extend(unused.cloned());
    if leftovers.missing.len() == tensors.len() && !tensors.is_empty() {
        let wanted = tensors.keys().next().cloned().unwrap_or_default();
        let near = nearest(&wanted, file.tensors.keys().map(String::as_str)).unwrap_or("nothing alike");
        return Err(Error::file(
            path,
            format!("has no tensor of the model: the model's first is \"{wanted}\", the file has {near}"),
        ));
    }
    Ok(leftovers)
}

fn shape_message(name: &str, found: &Shape, wanted: &Shape) -> String {
    format!(
        "has \"{name}\" as {found}, the model needs {wanted}; is it of another model or number of classes?"
    )
}

/// Pages of parameters and running statistics, both from `tensors`.
pub fn all_pages(pages: &Pages, tensors: &Tensors) -> [Vec<Vec<f32>>; 2] {
    [to_pages(&pages.parameters, tensors), to_pages(&pages.statistics, tensors)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_headers_are_refused() {
        let header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551611,18446744073709551615]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header);
        assert!(check_header(&file).is_err_and(|error| error.contains("beyond")));
        assert!(check_header(&[1, 2, 3]).is_err());
        assert!(check_header(&[0xff; 16]).is_err());
    }
}
