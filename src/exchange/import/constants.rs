//! Nodes that are known before any image is: constants, and the arithmetic of shapes that exporters write.

use std::rc::Rc;

use super::super::proto::data_type;
use super::super::tensors::{Content, content};
use super::builder::{Builder, Held};
use super::node::Node;
use crate::tensor::HostTensor;

/// Adds a node whose inputs are all constants, or which asks for a shape; none if it is not of these.
pub(super) fn add(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Option<Held>, String> {
    match node.op() {
        "Constant" => return constant(node).map(Some),
        "Shape" => return shape(builder, node),
        _ => {}
    }
    let mut inputs = vec![];
    for i in 0..node.proto.input.len() {
        if node.input(i).is_some() {
            inputs.push(builder.input(node, i)?);
        }
    }
    Ok(match &inputs[..] {
        [Held::Floats(tensor), others @ ..] => of_floats(node, tensor, others)?,
        inputs if !inputs.is_empty() => {
            let lists: Option<Vec<&[i64]>> = inputs
                .iter()
                .map(|held| if let Held::Ints(values) = held { Some(&values[..]) } else { None })
                .collect();
            lists.and_then(|lists| of_integers(node, &lists)).map(Held::Ints)
        }
        _ => None,
    })
}

fn constant(node: &Node<'_>) -> Result<Held, String> {
    if let Some(tensor) = node.attribute("value").and_then(|attribute| attribute.t.as_ref()) {
        return match content(tensor, node.folder) {
            Ok(Content::Floats(tensor)) => Ok(Held::Floats(Rc::new(tensor))),
            Ok(Content::Ints(values)) => Ok(Held::Ints(values)),
            Err(message) => node.refuse(message),
        };
    }
    let floats =
        |dims: Vec<usize>, values: Vec<f32>| Ok(Held::Floats(Rc::new(HostTensor::new(dims, values))));
    for attribute in &node.proto.attribute {
        match attribute.name.as_deref() {
            Some("value_int") => return Ok(Held::Ints(attribute.i.into_iter().collect())),
            Some("value_ints") => return Ok(Held::Ints(attribute.ints.clone())),
            Some("value_float") => return floats(vec![], vec![attribute.f.unwrap_or_default()]),
            Some("value_floats") => return floats(vec![attribute.floats.len()], attribute.floats.clone()),
            _ => {}
        }
    }
    node.refuse("has no number that is read")
}

/// The sizes of a wire, as the file sees them, with as many images as it is tried with.
fn shape(builder: &Builder<'_>, node: &Node<'_>) -> Result<Option<Held>, String> {
    let dims = match builder.input(node, 0)? {
        Held::Wire(wire) => super::shapes::seen(builder, &wire),
        Held::Floats(tensor) => tensor.shape.to_vec(),
        _ => return Ok(None),
    };
    Ok(Some(Held::Ints(dims.into_iter().map(|dim| dim as i64).collect())))
}

/// The same numbers in another shape or type.
fn of_floats(node: &Node<'_>, tensor: &Rc<HostTensor>, others: &[Held]) -> Result<Option<Held>, String> {
    let list = match others.first() {
        Some(Held::Ints(values)) => Some(values.clone()),
        _ => node.ints("axes").map(<[i64]>::to_vec),
    };
    let reshaped = |dims: Vec<usize>| {
        if super::shapes::product(dims.iter().copied()) != Some(tensor.data.len()) {
            return node.refuse(format!("makes {dims:?} of {}", tensor.shape));
        }
        Ok(Some(Held::Floats(Rc::new(HostTensor::new(dims, tensor.data.clone())))))
    };
    match (node.op(), list) {
        ("Identity", _) => Ok(Some(Held::Floats(tensor.clone()))),
        ("Cast", _) if node.int("to", 1) == i64::from(data_type::FLOAT) => {
            Ok(Some(Held::Floats(tensor.clone())))
        }
        ("Transpose", _) => match tensor.shape.as_2d() {
            Some([rows, columns]) if node.ints("perm").is_none_or(|perm| perm == [1, 0]) => {
                Ok(Some(Held::Floats(Rc::new(transposed(&tensor.data, [rows, columns])))))
            }
            _ => Ok(None),
        },
        ("Reshape", Some(target)) => {
            match super::shapes::target(&tensor.shape, &target, node.int("allowzero", 0) != 0) {
                Some(dims) => reshaped(dims),
                None => node.refuse(format!("makes {target:?} of {}", tensor.shape)),
            }
        }
        ("Unsqueeze", Some(axes)) => {
            let rank = tensor.shape.len() + axes.len();
            let mut old = tensor.shape.iter();
            let is_new =
                |axis: usize| axes.iter().any(|new| *new == axis as i64 || new + rank as i64 == axis as i64);
            reshaped(
                (0..rank)
                    .map(|axis| if is_new(axis) { 1 } else { old.next().copied().unwrap_or(1) })
                    .collect(),
            )
        }
        ("Squeeze", _) => reshaped(tensor.shape.iter().copied().filter(|dim| *dim != 1).collect()),
        _ => Ok(None),
    }
}

/// The transpose of a matrix.
pub(super) fn transposed(data: &[f32], [rows, columns]: [usize; 2]) -> HostTensor {
    let turned = (0..columns).flat_map(|column| (0..rows).map(move |row| data[row * columns + column]));
    HostTensor::new([columns, rows], turned.collect())
}

/// Arithmetic of lists of integers; scalars are lists of one.
fn of_integers(node: &Node<'_>, lists: &[&[i64]]) -> Option<Vec<i64>> {
    let first = *lists.first()?;
    let by = |combine: fn(i64, i64) -> Option<i64>| -> Option<Vec<i64>> {
        let second = *lists.get(1)?;
        let len = first.len().max(second.len());
        let at = |list: &[i64], i: usize| if list.len() == 1 { Some(list[0]) } else { list.get(i).copied() };
        (0..len).map(|i| combine(at(first, i)?, at(second, i)?)).collect()
    };
    match node.op() {
        "Identity" | "Cast" | "Unsqueeze" | "Squeeze" | "Reshape" => Some(first.to_vec()),
        "Concat" => Some(lists.concat()),
        "Add" => by(i64::checked_add),
        "Sub" => by(i64::checked_sub),
        "Mul" => by(i64::checked_mul),
        "Div" => by(i64::checked_div),
        "Gather" => {
            let place = |at: &i64| {
                usize::try_from(if *at < 0 { at.checked_add(first.len() as i64)? } else { *at }).ok()
            };
            lists.get(1)?.iter().map(|at| first.get(place(at)?).copied()).collect()
        }
        "Slice" => {
            let bound =
                |i: usize| Some((*lists.get(i)?.first()?).clamp(-(first.len() as i64), first.len() as i64));
            let place = |at: i64| usize::try_from(if at < 0 { at + first.len() as i64 } else { at }).ok();
            if lists.get(4).is_some_and(|steps| *steps != [1]) {
                return None;
            }
            first.get(place(bound(1)?)?..place(bound(2)?)?).map(<[i64]>::to_vec)
        }
        _ => None,
    }
}
