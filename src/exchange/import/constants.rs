//! Nodes that are known before any image is: constants, and the arithmetic of shapes that exporters write.

use std::rc::Rc;

use super::super::proto::data_type;
use super::super::tensors::content;
use super::builder::{Builder, Held, Pending};
use super::node::Node;
use crate::tensor::HostTensor;

/// Operators that are known of constants only.
pub(super) const OPERATORS: [&str; 4] = ["Constant", "Gather", "Shape", "Slice"];

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
    let constant = |held: &Held| matches!(held, Held::Floats(_) | Held::Ints(_));
    if inputs.is_empty() || !inputs.iter().all(constant) {
        return Ok(None);
    }
    let made = match &inputs[..] {
        [Held::Floats(tensor), others @ ..] => of_floats(node, tensor, others)?,
        inputs => {
            let lists: Option<Vec<&[i64]>> = inputs
                .iter()
                .map(|held| if let Held::Ints(values) = held { Some(&values[..]) } else { None })
                .collect();
            lists.and_then(|lists| of_integers(node, &lists)).map(Held::Ints)
        }
    };
    match made {
        Some(held) => Ok(Some(held)),
        None => node.refuse("computes with constants what is not known"),
    }
}

fn constant(node: &Node<'_>) -> Result<Held, String> {
    if let Some(tensor) = node.attribute("value").and_then(|attribute| attribute.t.as_ref()) {
        return content(tensor, node.folder).map(Held::from).or_else(|message| node.refuse(message));
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
        Held::Wire(wire) => wire.seen,
        Held::Pending(pending, wire) if !matches!(pending, Pending::Padded(..)) => wire.seen,
        Held::Floats(tensor) => tensor.shape.to_vec(),
        _ => return node.refuse("asks for sizes that are not known"),
    };
    let bound = |name: &str, default: i64| {
        let (axis, rank) = (node.int(name, default), dims.len() as i64);
        (if axis < 0 { axis.saturating_add(rank) } else { axis }).clamp(0, rank) as usize
    };
    let (start, end) = (bound("start", 0), bound("end", i64::MAX));
    let asked = dims.get(start..end).unwrap_or_default();
    Ok(Some(Held::Ints(asked.iter().map(|dim| *dim as i64).collect())))
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
        (op @ ("Squeeze" | "Unsqueeze"), axes) => {
            match super::shapes::squeezed(op, &tensor.shape, axes.as_deref()) {
                Some(dims) => reshaped(dims),
                None => node.refuse(format!("has the axes {axes:?} for {}", tensor.shape)),
            }
        }
        _ => Ok(None),
    }
}

/// The transpose of a matrix.
pub(super) fn transposed(data: &[f32], [rows, columns]: [usize; 2]) -> HostTensor {
    let turned = (0..columns).flat_map(|column| (0..rows).map(move |row| data[row * columns + column]));
    HostTensor::new([columns, rows], turned.collect())
}

/// Types that are held as integers without loss.
const INTEGERS: [i64; 2] = [data_type::INT32 as i64, data_type::INT64 as i64];

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
        "Identity" => Some(first.to_vec()),
        "Cast" => INTEGERS.contains(&node.int("to", 0)).then(|| first.to_vec()),
        // A scalar is a list of one; what is more would be a matrix.
        "Unsqueeze" | "Squeeze" | "Reshape" => (first.len() == 1).then(|| first.to_vec()),
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
