//! Nodes with weights that do not slide over pixels: products and norms.

use toml::{Table, Value as Toml};

use super::builder::{Builder, Held, Wire};
use super::constants::transposed;
use super::node::Node;
use super::number;
use crate::tensor::HostTensor;

/// The name of a layer by that of one of its tensors: `layer1.0.conv1` for `layer1.0.conv1.weight`; for others by the node.
pub(super) fn scope(node: &Node<'_>, tensor: usize, suffix: &str) -> Option<String> {
    let of_tensor =
        node.input(tensor).and_then(|name| name.strip_suffix(suffix)).and_then(|name| name.strip_suffix('.'));
    let of_node = || {
        // `/layer1/layer1.0/conv1/Conv`: a part that begins with all before it goes on from there.
        let (path, _) = node.proto.name.as_deref()?.rsplit_once('/')?;
        let parts = path.split('/').filter(|part| !part.is_empty());
        let joined = parts.fold(String::new(), |path, part| {
            let last = path.rsplit_once('.').map_or(path.as_str(), |(_, last)| last);
            let repeated = part.strip_prefix(&path).or_else(|| part.strip_prefix(last));
            match repeated.filter(|rest| !path.is_empty() && rest.starts_with('.')) {
                Some(rest) => path.clone() + rest,
                None if path.is_empty() => part.to_string(),
                None => format!("{path}.{part}"),
            }
        });
        Some(joined)
    };
    let is_part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let fits = |name: &String| name.split('.').all(is_part);
    of_tensor.map(str::to_string).filter(fits).or_else(|| of_node().filter(fits))
}

/// One number for each of `count` features, of a tensor that has them or one for all.
fn vector(node: &Node<'_>, tensor: &HostTensor, count: usize) -> Result<HostTensor, String> {
    let long = tensor.shape.iter().filter(|dim| **dim != 1).count() <= 1;
    match tensor.data[..] {
        [value] if count != 1 => Ok(HostTensor::new([count], vec![value; count])),
        _ if long && tensor.data.len() == count => Ok(HostTensor::new([count], tensor.data.clone())),
        _ => node.refuse(format!("has a bias {} for {count} features", tensor.shape)),
    }
}

pub(super) fn gemm(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.wire(node, 0)?;
    let weight = builder.floats(node, 1)?;
    let Some(dims) = weight.shape.as_2d().filter(|_| node.int("transA", 0) == 0) else {
        return node.refuse("is no product of rows with a constant matrix");
    };
    let weight = if node.int("transB", 0) == 0 { transposed(&weight.data, dims) } else { (*weight).clone() };
    let weight = times(weight, node.float("alpha", 1.0));
    let bias = match node.input(2) {
        None => None,
        Some(_) => {
            let bias = vector(node, &*builder.floats(node, 2)?, weight.shape[0])?;
            Some(times(bias, node.float("beta", 1.0)))
        }
    };
    linear(builder, node, &wire, weight, bias)
}

fn times(mut tensor: HostTensor, factor: f32) -> HostTensor {
    if factor != 1.0 {
        tensor.data.iter_mut().for_each(|value| *value *= factor);
    }
    tensor
}

/// `MatMul` with a constant matrix, and with the `Add` behind it, if that adds a bias.
pub(super) fn matmul(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.wire(node, 0)?;
    let weight = builder.floats(node, 1)?;
    let Some([inner, out]) = weight.shape.as_2d() else {
        return node.refuse(format!("multiplies with {}; a constant matrix is known", weight.shape));
    };
    let weight = transposed(&weight.data, [inner, out]);
    let bias = builder.only_reader(node.output()).and_then(|(number, reader)| {
        let other = reader.input.iter().find(|name| *name != node.output())?;
        let Some(Held::Floats(bias)) = builder.held(other) else { return None };
        let is_bias = reader.op_type.as_deref() == Some("Add") && *bias.shape == [out];
        is_bias.then(|| (number, reader.output.first().cloned().unwrap_or_default(), (**bias).clone()))
    });
    let Some((number, name, bias)) = bias else { return linear(builder, node, &wire, weight, None) };
    let made = linear(builder, node, &wire, weight, Some(bias))?;
    builder.take_in(number);
    builder.hold(&name, Held::Wire(made.clone()));
    Ok(made)
}

fn linear(
    builder: &mut Builder<'_>,
    node: &Node<'_>,
    wire: &Wire,
    weight: HostTensor,
    bias: Option<HostTensor>,
) -> Result<Wire, String> {
    let images = builder.shape(wire).len() == 4;
    if images && !wire.last {
        return node.refuse("is over the last dimension of images; over their channels it is known");
    }
    let mut arguments = Table::from_iter([
        ("out_features".to_string(), Toml::Integer(weight.shape[0] as i64)),
        ("bias".to_string(), Toml::Boolean(bias.is_some())),
    ]);
    if images {
        arguments.insert("dim".to_string(), Toml::from("channels"));
    }
    let made = builder.layer(node, "linear", arguments, wire, scope(node, 1, "weight"))?;
    builder.store(&made, "weight", weight);
    if let Some(bias) = bias {
        builder.store(&made, "bias", bias);
    }
    Ok(made)
}

pub(super) fn batch_norm(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.wire(node, 0)?;
    if wire.last || node.int("training_mode", 0) != 0 {
        return node.refuse("is in training mode, or over other than the second dimension");
    }
    let arguments = Table::from_iter([("eps".to_string(), number(node.float("epsilon", 1e-5)))]);
    let channels = builder.shape(&wire).get(1).copied().unwrap_or(1);
    let made = builder.layer(node, "batch_norm", arguments, &wire, scope(node, 1, "weight"))?;
    for (i, name) in (1..).zip(["weight", "bias", "running_mean", "running_var"]) {
        let tensor = vector(node, &*builder.floats(node, i)?, channels)?;
        builder.store(&made, name, tensor);
    }
    Ok(made)
}

pub(super) fn instance_norm(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.wire(node, 0)?;
    if wire.last {
        return node.refuse("is over images with channels last");
    }
    let channels = builder.shape(&wire).get(1).copied().unwrap_or(1);
    let arguments = Table::from_iter([
        ("eps".to_string(), number(node.float("epsilon", 1e-5))),
        ("affine".to_string(), Toml::Boolean(true)),
    ]);
    let made = builder.layer(node, "instance_norm", arguments, &wire, scope(node, 1, "weight"))?;
    for (i, name) in [(1, "weight"), (2, "bias")] {
        let tensor = vector(node, &*builder.floats(node, i)?, channels)?;
        builder.store(&made, name, tensor);
    }
    Ok(made)
}

/// Over the channels of images with channels last, over the last dimension of others, or over whole images.
pub(super) fn layer_norm(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.wire(node, 0)?;
    let rank = builder.shape(&wire).len() as i64;
    let axis = node.int("axis", -1);
    let axis = if axis < 0 { axis.saturating_add(rank) } else { axis };
    let weight = builder.floats(node, 1)?;
    let bias = if node.input(2).is_some() { Some((*builder.floats(node, 2)?).clone()) } else { None };
    let mut arguments = Table::from_iter([("eps".to_string(), number(node.float("epsilon", 1e-5)))]);
    let (layer, bias) = match (rank, wire.last, axis) {
        (4, true, 3) => {
            let zeros = || HostTensor::new(weight.shape.clone(), vec![0.0; weight.data.len()]);
            ("layer_norm2d", Some(bias.unwrap_or_else(zeros)))
        }
        (4, false, 1) => ("layer_norm", bias),
        (rank, _, axis) if rank != 4 && axis + 1 == rank => ("layer_norm", bias),
        _ => return node.refuse(format!("is over the axes from {axis} of {}", builder.shape(&wire))),
    };
    if layer == "layer_norm" {
        arguments.insert("bias".to_string(), Toml::Boolean(bias.is_some()));
    }
    let made = builder.layer(node, layer, arguments, &wire, scope(node, 1, "weight"))?;
    builder.store(&made, "weight", (*weight).clone());
    if let Some(bias) = bias {
        builder.store(&made, "bias", bias);
    }
    Ok(made)
}

/// A factor for each channel.
pub(super) fn layer_scale(
    builder: &mut Builder<'_>,
    node: &Node<'_>,
    wire: usize,
    factors: usize,
) -> Result<Wire, String> {
    let (input, tensor) = (builder.wire(node, wire)?, builder.floats(node, factors)?);
    let channels = builder.shape(&input).get(1).copied().unwrap_or(1);
    // Where the channels are among the dimensions of the factors, counted from the end.
    let from_end = if input.last { 1 } else { 3 };
    let rank = tensor.shape.len();
    let place = rank.checked_sub(from_end);
    let others_are_one = tensor.shape.iter().enumerate().all(|(at, dim)| Some(at) == place || *dim == 1);
    if builder.shape(&input).len() != 4 || tensor.data.len() != channels || place.is_none() || !others_are_one
    {
        let shape = builder.shape(&input);
        return node
            .refuse(format!("multiplies {shape} by {}; a factor for each channel is known", tensor.shape));
    }
    let made =
        builder.layer(node, "layer_scale", Table::new(), &input, scope(node, factors, "layer_scale"))?;
    builder.store(&made, "layer_scale", HostTensor::new([channels, 1, 1], tensor.data.clone()));
    Ok(made)
}
