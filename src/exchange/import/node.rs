use std::path::Path;

use super::super::proto::{AttributeProto, NodeProto};

/// A node of a file, with its place.
pub(super) struct Node<'a> {
    pub(super) proto: &'a NodeProto,
    pub(super) folder: &'a Path,
}

impl Node<'_> {
    /// The operator.
    pub(super) fn op(&self) -> &str {
        self.proto.op_type.as_deref().unwrap_or_default()
    }

    /// How messages call it: `Conv "/conv1/Conv"`.
    pub(super) fn label(&self) -> String {
        let name = self.proto.name.as_deref().filter(|name| !name.is_empty());
        let made = self.proto.output.first().map_or("", String::as_str);
        format!("{} {:?}", self.op(), name.unwrap_or(made))
    }

    /// What it cannot do, with its name.
    pub(super) fn refuse<T>(&self, message: impl std::fmt::Display) -> Result<T, String> {
        Err(format!("has the node {}, which {message}", self.label()))
    }

    /// The name of input `i`, if it is given.
    pub(super) fn input(&self, i: usize) -> Option<&str> {
        self.proto.input.get(i).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The name of the first output.
    pub(super) fn output(&self) -> &str {
        self.proto.output.first().map_or("", String::as_str)
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|attribute| attribute.i).unwrap_or(default)
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|attribute| attribute.f).unwrap_or(default)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = self.attribute(name)?.s.as_ref()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// A list of integers, if it is given.
    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|attribute| &attribute.ints[..])
    }

    /// So many sizes, by default all `default`.
    pub(super) fn sizes<const N: usize>(&self, name: &str, default: usize) -> Result<[usize; N], String> {
        let Some(values) = self.ints(name) else { return Ok([default; N]) };
        let sizes: Option<Vec<usize>> = values
            .iter()
            .map(|value| usize::try_from(*value).ok().filter(|value| *value < 1 << 15))
            .collect();
        match sizes.and_then(|sizes| <[usize; N]>::try_from(sizes).ok()) {
            Some(sizes) => Ok(sizes),
            None => self.refuse(format!("has {name} = {values:?}; only two dimensions are known")),
        }
    }
}
