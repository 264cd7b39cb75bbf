use std::sync::Arc;

use indexmap::IndexMap;

use crate::error::{Error, Result};
use crate::graph::{Graph, NodeKind, TensorDesc};
use crate::tensor::DType;

/// Data for an input of a graph, in the physical order of its shape.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a, T> {
    /// Floats.
    Real(&'a [T]),
    /// Class indices.
    Int(&'a [i32]),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl<T> Data<'_, T> {
    /// Element type and number of elements.
    fn described(&self) -> (DType, usize) {
        match self {
            Data::Real(values) => (DType::F32, values.len()),
            Data::Int(values) => (DType::I32, values.len()),
            Data::Bytes(values) => (DType::U8, values.len()),
        }
    }
}

/// Data that stays with a session, in the physical order of its shape. On the host the session shares it with whoever
/// else holds it, such as a data set; a GPU has its own copy.
#[derive(Clone, Debug)]
pub enum Resident<T> {
    /// Floats.
    Real(Arc<Vec<T>>),
    /// Class indices.
    Int(Arc<Vec<i32>>),
    /// Bytes.
    Bytes(Arc<Vec<u8>>),
}

impl<T> Resident<T> {
    /// The elements.
    pub fn data(&self) -> Data<'_, T> {
        match self {
            Resident::Real(values) => Data::Real(values),
            Resident::Int(values) => Data::Int(values),
            Resident::Bytes(values) => Data::Bytes(values),
        }
    }
}

/// The residents of graphs, each once.
pub(super) fn residents(graphs: &[Graph]) -> Result<IndexMap<String, TensorDesc>> {
    let mut residents: IndexMap<String, TensorDesc> = IndexMap::new();
    let nodes = graphs.iter().flat_map(Graph::nodes);
    for node in nodes.filter(|node| matches!(node.kind, NodeKind::Resident)) {
        let desc = &node.outputs[0];
        let known = residents.entry(node.name.clone()).or_insert_with(|| desc.clone());
        if known != desc {
            let (name, known, shape) = (&node.name, &known.shape, &desc.shape);
            return Err(Error::Model(format!(
                "keeps \"{name}\" as {known} in one graph, as {shape} in another"
            )));
        }
    }
    Ok(residents)
}

/// Refuses data of another type or number of elements.
pub(super) fn check<T>(name: &str, desc: &TensorDesc, given: Option<&Data<'_, T>>) -> Result<()> {
    let given = given.map(Data::described);
    if given == Some((desc.dtype, desc.numel())) {
        return Ok(());
    }
    let given = given.map_or("nothing".to_string(), |(dtype, len)| format!("{len} elements of {dtype:?}"));
    let wanted = format!("{} elements of {:?} ({})", desc.numel(), desc.dtype, desc.shape);
    Err(Error::Data(format!("the input \"{name}\" was given {given}, it takes {wanted}")))
}
