use std::fmt::Debug;

use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::fields;
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
    if let Some(unknown) = fields::unknown_field::<L>(&table) {
        return Err(unknown_argument(unknown.name, unknown.known));
    }
    match L::deserialize(table.clone()) {
        Ok(layer) => Ok(Box::new(layer)),
        Err(error) => Err(explain(&table, &error)),
    }
}

/// `out_channels is 3.5; expected an integer of at least 0`
fn explain(table: &toml::Table, error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', ", ");
    if let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return format!("needs the argument \"{name}\"");
    }
    // The argument's name is in the second line of what the error displays, and nowhere else.
    let text = error.to_string();
    let keys = text.trim_end().rsplit_once("in `").map_or("", |(_, keys)| keys);
    let name = keys.trim_end_matches('`').split('.').next().unwrap_or_default();
    let Some(value) = table.get(name) else { return message };
    let mut value = value.to_string();
    if value.chars().count() > 40 {
        value = value.chars().take(40).chain("...".chars()).collect();
    }
    let expected = match message.split_once(", expected ") {
        Some((_, expected)) => Some(expected),
        None => message.strip_prefix("expected "),
    };
    match expected {
        Some("usize" | "u32" | "u64") => format!("{name} is {value}; expected an integer of at least 0"),
        Some("f32" | "f64") => format!("{name} is {value}; expected a number"),
        Some(expected) => format!("{name} is {value}; expected {expected}"),
        None => format!("{name} is {value}; {message}"),
    }
}

/// `has no argument "stridde"; did you mean "stride"?`
pub(crate) fn unknown_argument(name: &str, known: &[&str]) -> String {
    format!("has no argument \"{name}\"; {}", fields::hint(name, known))
}
