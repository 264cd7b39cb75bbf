//! The table of ONNX's operators: which layer each becomes.

use toml::{Table, Value as Toml};

use super::builder::{Builder, Held, Wire};
use super::node::Node;
use super::{arithmetic, constants, norms, number, shapes, weighted, windows};

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
        if builder.is_output(name) || builder.is_read(name) {
            return node.refuse(format!("gives {name:?} besides its first output, which is not known"));
        }
    }
    builder.hold(node.output(), held);
    Ok(())
}

/// What a node becomes.
type Reader = fn(&mut Builder<'_>, &Node<'_>) -> Result<Held, String>;

macro_rules! operators {
    ($($name:literal => $read:expr),* $(,)?) => {
        /// All operators that may depend on the images, in alphabetical order.
        pub(super) const OPERATORS: &[(&str, Reader)] =
            &[$(($name, |builder, node| $read(builder, node).map(Held::from))),*];
    };
}

operators! {
    "Add" => arithmetic::add,
    "AveragePool" => windows::average_pool,
    "BatchNormalization" => norms::batch_norm,
    "Cast" => shapes::same,
    "Clip" => clip,
    "Concat" => concat,
    "Conv" => windows::conv,
    "Div" => arithmetic::add,
    "Dropout" => shapes::same,
    "Elu" => activation,
    "Erf" => arithmetic::erf,
    "Flatten" => shapes::reshape,
    "Gelu" => activation,
    "Gemm" => weighted::gemm,
    "Gather" => shapes::gather,
    "GlobalAveragePool" => windows::global_average_pool,
    "GlobalMaxPool" => windows::global_max_pool,
    "GroupNormalization" => norms::group_norm,
    "HardSigmoid" => hardsigmoid,
    "HardSwish" => activation,
    "Identity" => shapes::same,
    "InstanceNormalization" => norms::instance_norm,
    "LayerNormalization" => norms::layer_norm,
    "LeakyRelu" => activation,
    "LogSoftmax" => softmax,
    "MatMul" => weighted::matmul,
    "MaxPool" => windows::max_pool,
    "Mul" => arithmetic::add,
    "Neg" => arithmetic::add,
    "PRelu" => prelu,
    "Pad" => shapes::pad,
    "ReduceMean" => shapes::mean,
    "Relu" => activation,
    "Reshape" => shapes::reshape,
    "Sigmoid" => sigmoid,
    "Slice" => shapes::slice,
    "Softmax" => softmax,
    "Softplus" => activation,
    "Squeeze" => shapes::reshape,
    "Sub" => arithmetic::add,
    "Sum" => arithmetic::add,
    "Swish" => activation,
    "Tanh" => activation,
    "Transpose" => shapes::transpose,
    "Unsqueeze" => shapes::reshape,
}

fn layer(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Held, String> {
    match OPERATORS.iter().find(|(name, _)| *name == node.op()) {
        Some((_, read)) => read(builder, node),
        None if constants::OPERATORS.contains(&node.op()) => node.refuse("is known of constants only"),
        None => node.refuse("is an operator that wgrad does not have"),
    }
}

fn activation(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let one = |name: &str, value: f32| Table::from_iter([(name.to_string(), number(value))]);
    let (layer, arguments) = match node.op() {
        "Elu" => ("elu", one("alpha", node.float("alpha", 1.0))),
        "Gelu" => {
            let approximate = node.text("approximate").unwrap_or_else(|| "none".to_string());
            ("gelu", Table::from_iter([("approximate".to_string(), Toml::from(approximate))]))
        }
        "HardSwish" => ("hardswish", Table::new()),
        "LeakyRelu" => ("leaky_relu", one("negative_slope", node.float("alpha", 0.01))),
        "Relu" => ("relu", Table::new()),
        "Softplus" => ("softplus", Table::new()),
        "Swish" if node.float("alpha", 1.0) == 1.0 => ("silu", Table::new()),
        "Tanh" => ("tanh", Table::new()),
        _ => return node.refuse("has arguments that are not known"),
    };
    let wire = builder.view(node, 0)?;
    elementwise(builder, node, layer, arguments, &wire)
}

fn sigmoid(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    gate(builder, node, "sigmoid", "silu")
}

/// A layer that does the same with each number, so that it does not matter how the file sees them.
pub(super) fn elementwise(
    builder: &mut Builder<'_>,
    node: &Node<'_>,
    layer: &str,
    arguments: Table,
    wire: &Wire,
) -> Result<Wire, String> {
    let made = builder.layer(node, layer, arguments, wire, None)?;
    Ok(Wire { last: wire.last, seen: wire.seen.clone(), ..made })
}

/// `layer(x)`, or `times_x`, which is x `layer(x)`, if that is all that becomes of it.
fn gate(builder: &mut Builder<'_>, node: &Node<'_>, layer: &str, times_x: &str) -> Result<Wire, String> {
    let wire = builder.view(node, 0)?;
    let product = builder.only_reader(node.output()).and_then(|(number, reader)| {
        let is_product = reader.op_type.as_deref() == Some("Mul") && reader.input.len() == 2;
        let of_x = reader.input.iter().any(|name| Some(name.as_str()) == node.input(0));
        (is_product && of_x).then(|| (number, reader.output.first().cloned().unwrap_or_default()))
    });
    let Some((number, name)) = product else {
        return elementwise(builder, node, layer, Table::new(), &wire);
    };
    let made = elementwise(builder, node, times_x, Table::new(), &wire)?;
    builder.take_in(number);
    builder.hold(&name, Held::Wire(made.clone()));
    Ok(made)
}

/// clamp(alpha x + beta), of 0 and 1; `hardsigmoid` is the one of 1/6 and 1/2.
fn hardsigmoid(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let (alpha, beta) = (node.float("alpha", 0.2), node.float("beta", 0.5));
    if (alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5 {
        return gate(builder, node, "hardsigmoid", "hardswish");
    }
    let mut wire = builder.view(node, 0)?;
    wire = scaled(builder, node, &wire, 6.0 * alpha)?;
    wire = offset(builder, node, &wire, 6.0 * (beta - 0.5))?;
    elementwise(builder, node, "hardsigmoid", Table::new(), &wire)
}

/// x times a fixed number.
pub(super) fn scaled(
    builder: &mut Builder<'_>,
    node: &Node<'_>,
    wire: &Wire,
    factor: f32,
) -> Result<Wire, String> {
    match factor {
        1.0 => Ok(wire.clone()),
        _ => with_number(builder, node, wire, ["multiply", "factor"], factor),
    }
}

/// x plus a fixed number.
pub(super) fn offset(
    builder: &mut Builder<'_>,
    node: &Node<'_>,
    wire: &Wire,
    value: f32,
) -> Result<Wire, String> {
    match value {
        0.0 => Ok(wire.clone()),
        _ => with_number(builder, node, wire, ["offset", "value"], value),
    }
}

/// The layer of one number, by the names of both.
fn with_number(
    builder: &mut Builder<'_>,
    node: &Node<'_>,
    wire: &Wire,
    [layer, argument]: [&str; 2],
    value: f32,
) -> Result<Wire, String> {
    if !value.is_finite() {
        return node.refuse(format!("has the {argument} {value}; finite numbers are known"));
    }
    let arguments = Table::from_iter([(argument.to_string(), number(value))]);
    elementwise(builder, node, layer, arguments, wire)
}

/// `leaky_relu`, where one slope is for all.
fn prelu(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let (wire, slopes) = (builder.view(node, 0)?, builder.floats(node, 1)?);
    match slopes.data.first() {
        Some(slope) if slopes.data.iter().all(|other| other == slope) => {
            let arguments = Table::from_iter([("negative_slope".to_string(), number(*slope))]);
            elementwise(builder, node, "leaky_relu", arguments, &wire)
        }
        _ => node.refuse(format!("has the slopes {}; one for all is known", slopes.shape)),
    }
}

fn clip(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let mut bounds = [node.float("min", f32::NEG_INFINITY), node.float("max", f32::INFINITY)];
    for (i, bound) in bounds.iter_mut().enumerate() {
        if node.input(1 + i).is_some() {
            *bound = builder.floats(node, 1 + i)?.data.first().copied().unwrap_or(*bound);
        }
    }
    let wire = builder.view(node, 0)?;
    let [lower, upper] = bounds;
    let no_lower = lower == f32::NEG_INFINITY || lower == f32::MIN;
    let no_upper = upper == f32::INFINITY || upper == f32::MAX;
    if no_lower && no_upper {
        return Ok(wire);
    }
    if no_upper {
        // max(x, a) = relu(x - a) + a
        let shifted = offset(builder, node, &wire, -lower)?;
        let cut = elementwise(builder, node, "relu", Table::new(), &shifted)?;
        return offset(builder, node, &cut, lower);
    }
    if no_lower {
        // min(x, b) = b - relu(b - x)
        let negative = scaled(builder, node, &wire, -1.0)?;
        let shifted = offset(builder, node, &negative, upper)?;
        let cut = elementwise(builder, node, "relu", Table::new(), &shifted)?;
        let back = scaled(builder, node, &cut, -1.0)?;
        return offset(builder, node, &back, upper);
    }
    let width = upper - lower;
    if width.is_nan() || width <= 0.0 {
        return node.refuse(format!("is between {bounds:?}"));
    }
    // relu6 is between 0 and 6.
    let shifted = offset(builder, node, &wire, -lower)?;
    let stretched = scaled(builder, node, &shifted, 6.0 / width)?;
    let cut = elementwise(builder, node, "relu6", Table::new(), &stretched)?;
    let back = scaled(builder, node, &cut, width / 6.0)?;
    offset(builder, node, &back, lower)
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
    let axis = shapes::place(node.int("axis", -1), wire.seen.len());
    if !builder.is_output(node.output()) || wire.seen.len() != 2 || axis != Some(1) {
        return node.refuse("is not over the classes at the end of the network; only there it is known");
    }
    builder.note(format!("{} at the end is left out: outputs are logits", node.label()));
    Ok(Held::Wire(wire))
}
