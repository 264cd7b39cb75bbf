//! Nodes that are known before any image is: constants, and the arithmetic of shapes that exporters write.

use super::super::proto::data_type;
use super::super::tensors::{Array, Content, content};
use super::arrays::Cut;
use super::builder::{Builder, Held, Pending};
use super::node::Node;
use super::shapes::{self, place};
use crate::tensor::HostTensor;

/// Operators that are known of constants only.
pub(super) const OPERATORS: [&str; 15] = [
    "Abs",
    "Ceil",
    "Constant",
    "ConstantOfShape",
    "Equal",
    "Expand",
    "Floor",
    "Max",
    "Min",
    "Pow",
    "Range",
    "Reciprocal",
    "Shape",
    "Sqrt",
    "Where",
];

/// Adds a node whose inputs are all constants, or which asks for a shape; none if it is not of these.
pub(super) fn add(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Option<Held>, String> {
    match node.op() {
        "Constant" => return constant(node).map(Some),
        "Shape" => return shape(builder, node),
        _ => {}
    }
    let mut elements: usize = 0;
    let (mut any, mut all) = (false, true);
    for i in 0..node.proto.input.len() {
        let Some(name) = node.input(i) else { continue };
        any = true;
        match builder.held(name) {
            Some(Held::Floats(tensor)) => elements = elements.saturating_add(tensor.data.len()),
            Some(Held::Ints(array)) => elements = elements.saturating_add(array.values.len()),
            // Says what is wrong with it, if anything is.
            _ => all = builder.input(node, i).map(|_| false)?,
        }
    }
    if !any || !all {
        return Ok(None);
    }
    builder.spend(elements).or_else(|message| node.refuse(message))?;
    let mut inputs = vec![];
    for i in 0..node.proto.input.len() {
        inputs.push(match node.input(i) {
            Some(_) => Some(builder.input(node, i)?),
            None => None,
        });
    }
    let made = match &inputs[..] {
        [Some(Held::Floats(_)), ..] if node.op() == "Identity" => inputs.swap_remove(0),
        [Some(Held::Floats(tensor)), ..] => {
            let first = Array { dims: tensor.shape.to_vec(), values: tensor.data.clone() };
            computed(node, first, &inputs).map(Held::from)
        }
        [Some(Held::Ints(first)), ..] => computed(node, first.clone(), &inputs).map(Held::from),
        _ => None,
    };
    let size = match &made {
        Some(Held::Floats(tensor)) => tensor.data.len(),
        Some(Held::Ints(array)) => array.values.len(),
        _ => return node.refuse("computes with constants what is not known"),
    };
    builder.spend(size).or_else(|message| node.refuse(message))?;
    Ok(made)
}

fn constant(node: &Node<'_>) -> Result<Held, String> {
    if let Some(tensor) = node.attribute("value").and_then(|attribute| attribute.t.as_ref()) {
        return content(tensor, node.folder).map(Held::from).or_else(|message| node.refuse(message));
    }
    for attribute in &node.proto.attribute {
        let values = match attribute.name.as_deref() {
            Some("value_int") => {
                Content::Ints(Array { dims: vec![], values: vec![attribute.i.unwrap_or_default()] })
            }
            Some("value_ints") => Content::Ints(Array::list(attribute.ints.clone())),
            Some("value_float") => {
                Content::Floats(HostTensor::new(vec![], vec![attribute.f.unwrap_or_default()]))
            }
            Some("value_floats") => {
                Content::Floats(HostTensor::new([attribute.floats.len()], attribute.floats.clone()))
            }
            _ => continue,
        };
        return Ok(Held::from(values));
    }
    node.refuse("has no number that is read")
}

/// The sizes of a wire, as the file sees them, with as many images as it is tried with.
fn shape(builder: &Builder<'_>, node: &Node<'_>) -> Result<Option<Held>, String> {
    let dims = match builder.input(node, 0)? {
        Held::Wire(wire) => wire.seen,
        Held::Pending(pending, wire) if !matches!(pending, Pending::Padded(..)) => wire.seen,
        Held::Floats(tensor) => tensor.shape.to_vec(),
        Held::Ints(array) => array.dims,
        _ => return node.refuse("asks for sizes that are not known"),
    };
    let bound = |name: &str, default: i64| {
        let (axis, rank) = (node.int(name, default), dims.len() as i64);
        (if axis < 0 { axis.saturating_add(rank) } else { axis }).clamp(0, rank) as usize
    };
    let (start, end) = (bound("start", 0), bound("end", i64::MAX));
    let asked = dims.get(start..end).unwrap_or_default();
    Ok(Some(Held::Ints(Array::list(asked.iter().map(|dim| *dim as i64).collect()))))
}

/// Numbers of one of the two types that constants have.
trait Number: Copy + PartialEq {
    fn array(held: &Held) -> Option<Array<Self>>;
    fn unary(self, op: &str) -> Option<Self>;
    fn binary(self, op: &str, other: Self) -> Option<Self>;
    fn as_int(self) -> i64;
    fn as_float(self) -> f32;
}

impl Number for f32 {
    fn array(held: &Held) -> Option<Array<f32>> {
        let Held::Floats(tensor) = held else { return None };
        Some(Array { dims: tensor.shape.to_vec(), values: tensor.data.clone() })
    }

    fn unary(self, op: &str) -> Option<f32> {
        Some(match op {
            "Abs" => self.abs(),
            "Ceil" => self.ceil(),
            "Floor" => self.floor(),
            "Neg" => -self,
            "Reciprocal" => 1.0 / self,
            "Sqrt" => self.sqrt(),
            _ => return None,
        })
    }

    fn binary(self, op: &str, other: f32) -> Option<f32> {
        Some(match op {
            "Add" => self + other,
            "Sub" => self - other,
            "Mul" => self * other,
            "Div" => self / other,
            "Pow" => self.powf(other),
            // A NaN stays one.
            "Max" => {
                if self > other || self.is_nan() {
                    self
                } else {
                    other
                }
            }
            "Min" => {
                if self < other || self.is_nan() {
                    self
                } else {
                    other
                }
            }
            _ => return None,
        })
    }

    fn as_int(self) -> i64 {
        self as i64
    }

    fn as_float(self) -> f32 {
        self
    }
}

impl Number for i64 {
    fn array(held: &Held) -> Option<Array<i64>> {
        if let Held::Ints(array) = held { Some(array.clone()) } else { None }
    }

    fn unary(self, op: &str) -> Option<i64> {
        match op {
            "Abs" => self.checked_abs(),
            "Neg" => self.checked_neg(),
            _ => None,
        }
    }

    fn binary(self, op: &str, other: i64) -> Option<i64> {
        match op {
            "Add" => self.checked_add(other),
            "Sub" => self.checked_sub(other),
            "Mul" => self.checked_mul(other),
            "Div" => self.checked_div(other),
            "Max" => Some(Ord::max(self, other)),
            "Min" => Some(Ord::min(self, other)),
            _ => None,
        }
    }

    fn as_int(self) -> i64 {
        self
    }

    fn as_float(self) -> f32 {
        self as f32
    }
}

/// What a node makes of constants, of which `first` is the first.
fn computed<T: Number>(node: &Node<'_>, first: Array<T>, inputs: &[Option<Held>]) -> Option<Content>
where
    Content: From<Array<T>>,
{
    let ints = |i: usize| <i64 as Number>::array(inputs.get(i)?.as_ref()?);
    let list = |name: &str| node.ints(name).map(<[i64]>::to_vec).or_else(|| Some(ints(1)?.values));
    let all = || inputs.iter().map(|held| T::array(held.as_ref()?)).collect::<Option<Vec<Array<T>>>>();
    let sizes =
        |values: &[i64]| values.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<Vec<_>>>();
    Some(match node.op() {
        "Identity" => first.into(),
        "Cast" => return cast(node, first),
        "Clip" => {
            let bound = |i: usize| inputs.get(i).and_then(|held| T::array(held.as_ref()?));
            let mut made = first;
            for (bound, op) in [(bound(1), "Max"), (bound(2), "Min")] {
                if let Some(bound) = bound {
                    made = made.combined(&bound, |a, b| a.binary(op, b))?;
                }
            }
            made.into()
        }
        "Concat" => Array::joined(&all()?.iter().collect::<Vec<_>>(), node.int("axis", 0))?.into(),
        "ConstantOfShape" => return filled(node, &sizes(&ints(0)?.values)?),
        "Equal" => {
            let second = T::array(inputs.get(1)?.as_ref()?)?;
            let equal = first.combined(&second, |a, b| Some(i64::from(a == b)))?;
            Content::Ints(equal)
        }
        "Expand" => {
            let wanted = sizes(&ints(1)?.values)?;
            let rank = wanted.len().max(first.dims.len());
            let at = |dims: &[usize], axis: usize| {
                (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis])
            };
            let dims: Vec<usize> = (0..rank)
                .map(|axis| if at(&wanted, axis) == 1 { at(&first.dims, axis) } else { at(&wanted, axis) })
                .collect();
            first.expanded(&dims)?.into()
        }
        "Flatten" => {
            let axis = usize::try_from(node.int("axis", 1)).ok()?;
            let (before, after) = first.dims.split_at_checked(axis)?;
            let product = |dims: &[usize]| shapes::product(dims.iter().copied());
            let dims = vec![product(before)?, product(after)?];
            first.reshaped(dims)?.into()
        }
        "Gather" => first.gathered(node.int("axis", 0), &ints(1)?)?.into(),
        "Range" => Content::Ints(range([ints(0)?, ints(1)?, ints(2)?])?),
        "Reshape" => {
            let dims = shapes::target(&first.dims, &list("shape")?, node.int("allowzero", 0) != 0)?;
            first.reshaped(dims)?.into()
        }
        "Slice" => first.sliced(&cuts(node, first.dims.len(), &ints)?)?.into(),
        op @ ("Squeeze" | "Unsqueeze") => {
            let axes = list("axes");
            let dims = shapes::squeezed(op, &first.dims, axes.as_deref())?;
            first.reshaped(dims)?.into()
        }
        "Transpose" => first.transposed(node.ints("perm"))?.into(),
        "Where" => return chosen(&ints(0)?, inputs),
        op if inputs.len() == 1 => {
            let values = first.values.iter().map(|value| value.unary(op)).collect::<Option<_>>()?;
            Array { values, ..first }.into()
        }
        op => {
            let others = all()?;
            let mut made = first;
            for other in &others[1..] {
                made = made.combined(other, |a, b| a.binary(op, b))?;
            }
            made.into()
        }
    })
}

/// Longest list that `Range` makes.
const MOST_OF_RANGE: i64 = 1 << 20;

fn range(bounds: [Array<i64>; 3]) -> Option<Array<i64>> {
    let [Some(start), Some(end), Some(step)] = bounds.map(|array| array.values.first().copied()) else {
        return None;
    };
    let count = end.checked_sub(start)?.checked_div(step)?;
    let fits = (0..MOST_OF_RANGE).contains(&count) && step > 0 && (end - start) % step == 0;
    fits.then(|| Array::list((0..count).map(|i| start + i * step).collect()))
}

fn cast<T: Number>(node: &Node<'_>, array: Array<T>) -> Option<Content> {
    const FLOAT: i64 = data_type::FLOAT as i64;
    const INT32: i64 = data_type::INT32 as i64;
    const INT64: i64 = data_type::INT64 as i64;
    const BOOL: i64 = data_type::BOOL as i64;
    let Array { dims, values } = array;
    let ints = |number: fn(T) -> i64| Array {
        dims: dims.clone(),
        values: values.iter().map(|value| number(*value)).collect(),
    };
    Some(match node.int("to", 0) {
        FLOAT => {
            Content::Floats(HostTensor::new(dims, values.iter().map(|value| value.as_float()).collect()))
        }
        INT32 | INT64 => Content::Ints(ints(T::as_int)),
        BOOL => Content::Ints(ints(|value| i64::from(value.as_float() != 0.0))),
        _ => return None,
    })
}

/// `ConstantOfShape`: one number everywhere, 0 unless it is said.
fn filled(node: &Node<'_>, dims: &[usize]) -> Option<Content> {
    let one = match node.attribute("value").and_then(|attribute| attribute.t.as_ref()) {
        Some(tensor) => content(tensor, node.folder).ok()?,
        None => Content::Floats(HostTensor::new([1], vec![0.0])),
    };
    shapes::product(dims.iter().copied()).filter(|count| *count <= MOST_OF_RANGE as usize)?;
    match one {
        Content::Floats(tensor) => {
            let one = Array { dims: vec![], values: tensor.data.get(..1)?.to_vec() };
            Some(one.expanded(dims)?.into())
        }
        Content::Ints(array) => {
            let one = Array { dims: vec![], values: array.values.get(..1)?.to_vec() };
            Some(one.expanded(dims)?.into())
        }
        Content::Unread(_) => None,
    }
}

/// `Where` of integers: the second where the first is true, else the third.
fn chosen(condition: &Array<i64>, inputs: &[Option<Held>]) -> Option<Content> {
    let [_, Some(Held::Ints(yes)), Some(Held::Ints(no))] = inputs else { return None };
    let place = |array: &Array<i64>| Array {
        dims: array.dims.clone(),
        values: (0..array.values.len() as i64).collect(),
    };
    let pairs = place(yes).combined(&place(no), |a, b| Some((a, b)))?;
    let made = condition.combined(&pairs, |truth, (a, b)| {
        let (array, place) = if truth != 0 { (yes, a) } else { (no, b) };
        array.values.get(place as usize).copied()
    })?;
    Some(made.into())
}

/// What a `Slice` takes, by attributes or by inputs.
pub(super) fn cuts(
    node: &Node<'_>,
    rank: usize,
    ints: &dyn Fn(usize) -> Option<Array<i64>>,
) -> Option<Vec<Cut>> {
    let list = |name: &str, i: usize| node.ints(name).map(<[i64]>::to_vec).or_else(|| Some(ints(i)?.values));
    let (starts, ends) = (list("starts", 1)?, list("ends", 2)?);
    let axes = list("axes", 3).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list("steps", 4).unwrap_or_else(|| vec![1; starts.len()]);
    let one_each = [ends.len(), axes.len(), steps.len()].iter().all(|len| *len == starts.len());
    let cut =
        |i: usize| Some(Cut { axis: place(axes[i], rank)?, start: starts[i], end: ends[i], step: steps[i] });
    one_each.then(|| (0..starts.len()).map(cut).collect())?
}
