use std::fmt::Debug;

use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::error::{Result, nearest};
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
    check_arguments::<L>(&table)?;
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

/// Refuses arguments that `L` does not have, and suggests the nearest that it has.
fn check_arguments<L: DeserializeOwned>(table: &toml::Table) -> Result<(), String> {
    let known = fields_of::<L>();
    match table.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(unknown_argument(name, known)),
        None => Ok(()),
    }
}

/// `has no argument "stridde"; did you mean "stride"?`
pub(crate) fn unknown_argument(name: &str, known: &[&str]) -> String {
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if known.is_empty() => "it takes none".to_string(),
        None => format!("it takes {}", known.join(", ")),
    };
    format!("has no argument \"{name}\"; {hint}")
}

/// The names of a struct's fields, as serde sees them.
pub(crate) fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Spy<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Spy<'_> {
        type Error = de::value::Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            let empty = std::iter::empty::<(&str, &str)>();
            visitor.visit_map(de::value::MapDeserializer::new(empty.map(|(k, v)| (k, v.into_deserializer()))))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut fields: &'static [&'static str] = &[];
    // The value itself does not matter: required fields are missing.
    let _ = T::deserialize(Spy(&mut fields));
    fields
}
