//! The table of ONNX's operators: which layer each becomes.

use toml::{Table, Value as Toml};

use super::builder::{Builder, Held, Pending, Wire};
use super::node::Node;
use super::{constants, number, shapes, weighted, windows};

/// What a pending expression's numbers may be off by.
const CLOSE: f32 = 1e-3;

/// Adds a node.
pub(super) fn add(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<(), String> {
    if !matches!(node.proto.domain.as_deref(), None | Some("" | "ai.onnx")) {
        let domain = node.proto.domain.clone().unwrap_or_default();
        return node.refuse(format!("is of the operators {domain:?}, not of ONNX's own"));
    }
    let held = match constants::add(builder, node)? {
        Some(held) => held,
        None => layer(builder, node)?,
    };
    let more = node.proto.output.iter().skip(1).filter(|name| !name.is_empty());
    for name in more {
        if builder.is_output(name) || builder.only_reader(name).is_some() {
            return node.refuse(format!("gives {name:?} besides its first output, which is not known"));
        }
    }
    builder.hold(node.output(), held);
    Ok(())
}

fn layer(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Held, String> {
    let wire = match node.op() {
        "Add" | "Mul" | "Div" | "Sum" => return arithmetic(builder, node),
        "Erf" => return erf(builder, node),
        "Identity" | "Dropout" | "Cast" => return shapes::same(builder, node),
        "Softmax" | "LogSoftmax" => return softmax(builder, node),
        "AveragePool" => windows::average_pool(builder, node)?,
        "BatchNormalization" => weighted::batch_norm(builder, node)?,
        "Clip" => clip(builder, node)?,
        "Concat" => concat(builder, node)?,
        "Conv" => windows::conv(builder, node)?,
        "Flatten" | "Reshape" | "Squeeze" => shapes::flatten(builder, node)?,
        "Gemm" => weighted::gemm(builder, node)?,
        "InstanceNormalization" => weighted::instance_norm(builder, node)?,
        "LayerNormalization" => weighted::layer_norm(builder, node)?,
        "MatMul" => weighted::matmul(builder, node)?,
        "MaxPool" => windows::max_pool(builder, node)?,
        "ReduceMean" => shapes::mean(builder, node)?,
        "Transpose" => shapes::transpose(builder, node)?,
        _ => activation(builder, node)?,
    };
    Ok(Held::Wire(wire))
}

fn activation(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let one = |name: &str, value: f32| Table::from_iter([(name.to_string(), number(value))]);
    let (layer, arguments) = match node.op() {
        "Elu" => ("elu", one("alpha", node.float("alpha", 1.0))),
        "Gelu" => {
            let approximate = node.text("approximate").unwrap_or_else(|| "none".to_string());
            ("gelu", Table::from_iter([("approximate".to_string(), Toml::from(approximate))]))
        }
        "GlobalAveragePool" => ("global_avg_pool2d", Table::new()),
        "HardSigmoid" => {
            let (alpha, beta) = (node.float("alpha", 0.2), node.float("beta", 0.5));
            if (alpha - 1.0 / 6.0).abs() > CLOSE || beta != 0.5 {
                return node.refuse(format!("has alpha {alpha} and beta {beta}; only 1/6 and 1/2 are known"));
            }
            ("hardsigmoid", Table::new())
        }
        "HardSwish" => ("hardswish", Table::new()),
        "LeakyRelu" => ("leaky_relu", one("negative_slope", node.float("alpha", 0.01))),
        "Relu" => ("relu", Table::new()),
        "Sigmoid" => ("sigmoid", Table::new()),
        "Softplus" => ("softplus", Table::new()),
        "Tanh" => ("tanh", Table::new()),
        _ => return node.refuse("is an operator that wgrad does not have"),
    };
    let wire = builder.wire(node, 0)?;
    if wire.last && layer == "global_avg_pool2d" {
        return node.refuse("is over images with channels last");
    }
    builder.layer(node, layer, arguments, &wire, None)
}

fn clip(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let mut bounds = [node.float("min", f32::NEG_INFINITY), node.float("max", f32::INFINITY)];
    for (i, bound) in bounds.iter_mut().enumerate() {
        if node.input(1 + i).is_some() {
            *bound = builder.floats(node, 1 + i)?.data.first().copied().unwrap_or(*bound);
        }
    }
    let layer = match bounds {
        [0.0, 6.0] => "relu6",
        [0.0, upper] if upper == f32::INFINITY || upper == f32::MAX => "relu",
        _ => return node.refuse(format!("is between {bounds:?}; only 0 and 6, or 0 and more, are known")),
    };
    let wire = builder.wire(node, 0)?;
    builder.layer(node, layer, Table::new(), &wire, None)
}

fn concat(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wires: Vec<Wire> =
        (0..node.proto.input.len()).map(|i| builder.wire(node, i)).collect::<Result<_, _>>()?;
    let Some(first) = wires.first() else { return node.refuse("has no inputs") };
    let rank = builder.shape(first).len() as i64;
    let (axis, channels) = (node.int("axis", 1), if first.last { 3 } else { 1 });
    if axis != channels && axis.saturating_add(rank) != channels {
        return node.refuse(format!("is along axis {axis}; only that of the channels is known"));
    }
    builder.join(node, "concat", &wires.iter().collect::<Vec<_>>())
}

/// A softmax at the end: losses and probabilities are of what comes before it.
fn softmax(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Held, String> {
    let wire = builder.wire(node, 0)?;
    if !builder.is_output(node.output()) {
        return node.refuse("is not at the end of the network; only there it is known");
    }
    builder.note(format!("{} at the end is left out: outputs are logits", node.label()));
    Ok(Held::Wire(wire))
}

fn erf(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Held, String> {
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

/// Sums and products: of wires, with a number, or with one for each channel.
fn arithmetic(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Held, String> {
    if node.proto.input.len() != 2 {
        return node.refuse(format!("has {} inputs; two are known", node.proto.input.len()));
    }
    let (left, right) = (builder.input(node, 0)?, builder.input(node, 1)?);
    if let Some(held) = gelu(builder, node, &left, &right)? {
        return Ok(held);
    }
    let is_constant = |held: &Held| matches!(held, Held::Floats(_) | Held::Ints(_));
    let (wire, constant) = match (is_constant(&left), is_constant(&right)) {
        (false, true) => (0, 1),
        (true, false) if node.op() != "Div" => (1, 0),
        (false, false) if node.op() != "Div" => {
            let name = if node.op() == "Mul" { "mul" } else { "add" };
            let wires = [builder.wire(node, 0)?, builder.wire(node, 1)?];
            return builder.join(node, name, &[&wires[0], &wires[1]]).map(Held::Wire);
        }
        _ => return node.refuse("divides by what depends on the images"),
    };
    let factors = builder.floats(node, constant)?;
    match (node.op(), &factors.data[..]) {
        ("Mul", [factor]) => scaled(builder, node, wire, *factor),
        ("Div", [divisor]) => scaled(builder, node, wire, 1.0 / divisor),
        ("Mul", _) => weighted::layer_scale(builder, node, wire, constant).map(Held::Wire),
        (op, values) => {
            let what = if op == "Div" { "divides by" } else { "adds" };
            node.refuse(format!("{what} {} constant numbers, which no layer does", values.len()))
        }
    }
}

/// A wire times a number, which may become part of a GELU.
fn scaled(builder: &mut Builder<'_>, node: &Node<'_>, wire: usize, factor: f32) -> Result<Held, String> {
    if !factor.is_finite() {
        return node.refuse(format!("multiplies by {factor}"));
    }
    builder.wire(node, wire).map(|wire| Held::Pending(Pending::Scaled(factor), wire))
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
