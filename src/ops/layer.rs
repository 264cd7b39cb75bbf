use std::fmt::Debug;

use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::fields::unknown_field;
use crate::graph::{Graph, Value};

/// A layer of a model: adds its parameters and operators to a graph, in the graph's current scope.
pub trait Layer: Debug + Send + Sync {
    /// Applies the layer to `input`.
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value>;
}

/// Makes a layer from its arguments in a model file, or says what is wrong with them.
pub type LayerParser = fn(toml::Table) -> Result<Box<dyn Layer>, String>;

/// The [`LayerParser`] of a layer whose struct has PyTorch's argument names as fields.
pub fn parse_layer<L: Layer + DeserializeOwned + 'static>(
    table: toml::Table,
) -> Result<Box<dyn Layer>, String> {
    if let Some(unknown) = unknown_field::<L>(&table) {
        return Err(format!("has no argument \"{}\"; {}", unknown.name, unknown.hint));
    }
    match L::deserialize(table) {
        Ok(layer) => Ok(Box::new(layer)),
        Err(error) => Err(error.message().trim().replace('\n', ": ")),
    }
}
