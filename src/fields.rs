//! The names of a struct's fields, for messages that suggest the nearest: arguments of layers, settings of recipes.

use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::error::nearest;

/// A name in a table that is none of a struct's fields.
pub(crate) struct UnknownField<'a> {
    /// The name.
    pub name: &'a str,
    /// The names that there are.
    pub known: &'static [&'static str],
}

/// The first name in `table` that is no field of `T`.
pub(crate) fn unknown_field<T: DeserializeOwned>(table: &toml::Table) -> Option<UnknownField<'_>> {
    let known = fields_of::<T>();
    let name = table.keys().find(|name| !known.contains(&name.as_str()))?;
    Some(UnknownField { name, known })
}

/// What to say after an unknown name: `did you mean "padding"?`, or what there is.
pub(crate) fn hint(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if known.is_empty() => "it takes none".to_string(),
        None => format!("it takes {}", known.join(", ")),
    }
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its names matter")]
    struct Window {
        kernel_size: u32,
        #[serde(default)]
        padding: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    #[test]
    fn names_are_found_though_some_are_required() {
        assert_eq!(fields_of::<Window>(), ["kernel_size", "padding"]);
        assert!(fields_of::<Nothing>().is_empty());
    }

    #[test]
    fn hints() {
        let hint_at = |text: &str| {
            let table = text.parse::<toml::Table>().unwrap();
            unknown_field::<Window>(&table).map(|unknown| hint(unknown.name, unknown.known))
        };
        assert_eq!(hint_at("kernel_size = 2\npadding = 1"), None);
        assert_eq!(hint_at("kernelsize = 2"), Some("did you mean \"kernel_size\"?".to_string()));
        assert_eq!(hint_at("q = 2"), Some("it takes kernel_size, padding".to_string()));
        assert_eq!(hint("x", fields_of::<Nothing>()), "it takes none");
    }
}
