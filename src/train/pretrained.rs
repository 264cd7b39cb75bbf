//! Weights of a network of other classes.

use std::path::Path;

use super::weights::{TensorFile, Tensors};
use crate::error::{Error, Result, nearest};

/// Longest list of names in a message.
const LISTED: usize = 5;

/// What became of pretrained weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Tensors of the head that keep their initial values.
    pub fresh: Vec<String>,
    /// Classes of the file's head, if it has one of another size.
    pub classes: Option<usize>,
}

/// Overwrites `tensors` by those of a file. Only those of the `head` may be missing or of another shape; all others must
/// be there and fit, and the file must have no more.
///
/// # Errors
/// They name what is missing, what is left over and what is of another shape.
pub fn adopt(tensors: &mut Tensors, file: &TensorFile, head: &[String], path: &Path) -> Result<Adopted> {
    let mut adopted = Adopted::default();
    let (mut missing, mut shapes) = (vec![], vec![]);
    for (name, tensor) in tensors.iter_mut() {
        let is_head = head.contains(name);
        match file.tensors.get(name) {
            Some(found) if !found.data.iter().all(|value| value.is_finite()) => {
                return Err(Error::file(path, format!("holds NaN or infinity in \"{name}\"")));
            }
            Some(found) if found.shape == tensor.shape => *tensor = found.clone(),
            Some(found) if is_head => {
                adopted.classes = found.shape.first().copied();
                adopted.fresh.push(name.clone());
            }
            None if is_head => adopted.fresh.push(name.clone()),
            Some(found) => {
                shapes.push(format!("\"{name}\" as {}, the model needs {}", found.shape, tensor.shape))
            }
            None => missing.push(name.clone()),
        }
    }
    let left: Vec<&str> =
        file.tensors.keys().filter(|name| !tensors.contains_key(*name)).map(String::as_str).collect();
    let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
    let mut problems = vec![];
    if !missing.is_empty() {
        let near = missing.first().and_then(|name| nearest(name, left.iter().copied()));
        let near = near.map_or(String::new(), |near| format!(" (the nearest it has is {near})"));
        problems.push(format!("has no {}{near}", list(&missing)));
    }
    if !left.is_empty() {
        problems.push(format!("also has {}", list(&left)));
    }
    if !shapes.is_empty() {
        let shapes: Vec<&str> = shapes.iter().map(String::as_str).collect();
        problems.push(format!("has {}", list(&shapes)));
    }
    if problems.is_empty() {
        return Ok(adopted);
    }
    Err(Error::file(
        path,
        format!("does not fit the model: it {}; is it of another network?", problems.join("; it ")),
    ))
}

/// The first names, and how many more.
fn list(names: &[&str]) -> String {
    let shown = names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
