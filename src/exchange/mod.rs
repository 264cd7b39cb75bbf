//! Models that go to other tools and come from them: ONNX, and PyTorch as a module of readable Python.
//!
//! What each operator is elsewhere stands in one table (`operators`), from which both formats are made.

mod export;
mod folding;
mod form;
mod import;
mod operators;
mod proto;
mod pytorch;
mod tensors;

pub use export::{OPSET, onnx, onnx_graph};
pub use import::{Imported, import, is_onnx};
pub use pytorch::pytorch;

use crate::error::{Error, Result};
use crate::graph::{Graph, Mode, Value};
use crate::models::Model;
use crate::train::RunModel;
use crate::train::weights::Tensors;

/// A network with its weights, and what is to be known to use it: what is exported.
#[derive(Clone, Copy, Debug)]
pub struct Exported<'a> {
    /// The network.
    pub model: &'a Model,
    /// Its parameters and running statistics, in PyTorch's names and layouts.
    pub tensors: &'a Tensors,
    /// Classes, normalisation and size of the images.
    pub about: &'a RunModel,
}

/// The registry's operators that can leave wgrad.
pub fn operators() -> impl Iterator<Item = &'static str> {
    operators::OPERATORS.iter().map(|operator| operator.name)
}

impl Exported<'_> {
    /// The graph that is exported, for one image, and its output; every tensor of it is there and of the right shape.
    fn graph(&self) -> Result<(Graph, Value)> {
        let (graph, output) = self.model.graph(Mode::Eval, 1)?;
        for value in graph.parameters().into_iter().chain(graph.statistics()) {
            let (name, shape) = (&graph.nodes()[value.node].name, graph.shape(value));
            let wrong = |what: String| Err(Error::Model(format!("\"{}\": {what}", self.model.name())));
            match self.tensors.get(name) {
                Some(tensor) if tensor.shape == *shape => {}
                Some(tensor) => return wrong(format!("\"{name}\" is {}, not {shape}", tensor.shape)),
                None => return wrong(format!("there are no values for \"{name}\"")),
            }
        }
        Ok((graph, output))
    }
}

#[cfg(test)]
mod tests;
