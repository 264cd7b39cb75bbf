//! Sums and products: of wires, with a number, or with one for each channel; and the GELU that is written out in them.

use toml::Table;

use super::builder::{Builder, Held, Pending, Wire};
use super::layers::{offset, scaled};
use super::node::Node;
use super::weighted;
use crate::tensor::HostTensor;

/// What a pending expression's numbers may be off by.
const CLOSE: f32 = 1e-3;

/// `Add`, `Div`, `Mul`, `Neg`, `Sub` and `Sum`.
pub(super) fn add(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Held, String> {
    let count = node.proto.input.len();
    match node.op() {
        "Neg" => {
            let wire = builder.view(node, 0)?;
            scaled(builder, node, &wire, -1.0).map(Held::Wire)
        }
        "Sum" if count != 2 => {
            let mut sum = builder.wire(node, 0)?;
            for i in 1..count {
                let next = builder.wire(node, i)?;
                sum = builder.join(node, "add", &[&sum, &next])?;
            }
            Ok(Held::Wire(sum))
        }
        _ if count != 2 => node.refuse(format!("has {count} inputs; it takes two")),
        _ => of_two(builder, node),
    }
}

fn of_two(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Held, String> {
    let (left, right) = (builder.input(node, 0)?, builder.input(node, 1)?);
    if let Some(held) = gelu(builder, node, &left, &right)? {
        return Ok(held);
    }
    let constant = |held: &Held| matches!(held, Held::Floats(_) | Held::Ints(_));
    match (node.op(), constant(&left), constant(&right)) {
        ("Div", _, false) => node.refuse("divides by what depends on the images"),
        (_, false, false) => of_wires(builder, node).map(Held::Wire),
        (_, false, true) => with_constant(builder, node, 0, 1),
        ("Sub", true, false) => {
            // a - x = -x + a
            let wire = builder.view(node, 1)?;
            let negative = scaled(builder, node, &wire, -1.0)?;
            let numbers = builder.floats(node, 0)?;
            shifted(builder, node, &negative, &numbers, 0).map(Held::Wire)
        }
        _ => with_constant(builder, node, 1, 0),
    }
}

fn of_wires(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let (left, mut right) = (builder.wire(node, 0)?, builder.wire(node, 1)?);
    let join = match node.op() {
        "Mul" => "mul",
        "Sub" => {
            right = scaled(builder, node, &right, -1.0)?;
            "add"
        }
        _ => "add",
    };
    builder.join(node, join, &[&left, &right])
}

/// Input `wire` with the constant `constant`, which stands on the right where that makes a difference.
fn with_constant(
    builder: &mut Builder<'_>,
    node: &Node<'_>,
    wire: usize,
    constant: usize,
) -> Result<Held, String> {
    let numbers = builder.floats(node, constant)?;
    let each = |function: fn(f32) -> f32| {
        HostTensor::new(numbers.shape.clone(), numbers.data.iter().map(|value| function(*value)).collect())
    };
    let (product, numbers) = match node.op() {
        "Mul" => (true, (*numbers).clone()),
        "Div" => (true, each(|value| 1.0 / value)),
        "Sub" => (false, each(|value| -value)),
        _ => (false, (*numbers).clone()),
    };
    let wire = builder.view(node, wire)?;
    match (product, &numbers.data[..]) {
        (true, [factor]) if numbers.shape.len() <= wire.seen.len() => match factor.is_finite() {
            true => Ok(Held::Pending(Pending::Scaled(*factor), wire)),
            false => node.refuse(format!("multiplies by {factor}")),
        },
        (true, _) => {
            let wire = builder.settled(node, wire)?;
            weighted::per_channel(builder, node, ["layer_scale", "layer_scale"], (&wire, constant), &numbers)
                .map(Held::Wire)
        }
        (false, _) => shifted(builder, node, &wire, &numbers, constant).map(Held::Wire),
    }
}

/// A wire plus the numbers of input `constant`: one for all, or one for each channel.
fn shifted(
    builder: &mut Builder<'_>,
    node: &Node<'_>,
    wire: &Wire,
    numbers: &HostTensor,
    constant: usize,
) -> Result<Wire, String> {
    if let ([value], true) = (&numbers.data[..], numbers.shape.len() <= wire.seen.len()) {
        return offset(builder, node, wire, *value);
    }
    let wire = builder.settled(node, wire.clone())?;
    weighted::per_channel(builder, node, ["channel_bias", "bias"], (&wire, constant), numbers)
}

/// The error function, which is known as part of a GELU.
pub(super) fn erf(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Held, String> {
    match builder.input(node, 0)? {
        Held::Pending(Pending::Scaled(factor), wire) if close(factor, std::f32::consts::FRAC_1_SQRT_2) => {
            Ok(Held::Pending(Pending::Erf, wire))
        }
        _ => node.refuse("is not that of GELU, of x / sqrt 2"),
    }
}

fn close(a: f32, b: f32) -> bool {
    (a - b).abs() < CLOSE
}

/// The next part of a GELU, if the two are parts of one.
fn gelu(
    builder: &mut Builder<'_>,
    node: &Node<'_>,
    left: &Held,
    right: &Held,
) -> Result<Option<Held>, String> {
    let is = |held: &Held, value: f32| match held {
        Held::Floats(tensor) => tensor.data.len() == 1 && close(tensor.data[0], value),
        _ => false,
    };
    let next = |one: &Held, other: &Held| -> Option<(Option<Pending>, Wire)> {
        let x = |wire: &Wire| matches!(other, Held::Wire(x) if x.id == wire.id);
        let half_x = |wire: &Wire| matches!(other, Held::Pending(Pending::Scaled(factor), x) if x.id == wire.id && close(*factor, 0.5));
        let Held::Pending(pending, wire) = one else { return None };
        let next = match (pending, node.op()) {
            (Pending::Erf, "Add") if is(other, 1.0) => Some(Pending::OnePlusErf),
            (Pending::OnePlusErf, "Mul") if is(other, 0.5) => Some(Pending::HalfOnePlusErf),
            (Pending::OnePlusErf, "Mul") if x(wire) => Some(Pending::TwiceGelu),
            (Pending::OnePlusErf, "Mul") if half_x(wire) => None,
            (Pending::HalfOnePlusErf, "Mul") if x(wire) => None,
            (Pending::TwiceGelu, "Mul") if is(other, 0.5) => None,
            _ => return None,
        };
        Some((next, wire.clone()))
    };
    Ok(match next(left, right).or_else(|| next(right, left)) {
        None => None,
        Some((Some(pending), wire)) => Some(Held::Pending(pending, wire)),
        Some((None, wire)) => Some(Held::Wire(builder.layer(node, "gelu", Table::new(), &wire, None)?)),
    })
}
