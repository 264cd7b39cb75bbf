//! Nodes with weights that do not slide over pixels: products, and a number for each channel.

use toml::{Table, Value as Toml};

use super::builder::{Builder, Held, Wire};
use super::node::Node;
use super::windows;
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
pub(super) fn vector(node: &Node<'_>, tensor: &HostTensor, count: usize) -> Result<HostTensor, String> {
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
    if matches!(builder.input(node, 0)?, Held::Floats(_)) {
        return windows::means(builder, node);
    }
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
    builder.store(node, &made, "weight", weight)?;
    if let Some(bias) = bias {
        builder.store(node, &made, "bias", bias)?;
    }
    Ok(made)
}

/// One number for each channel of images or rows, as the parameter of a layer: `[layer, parameter]`.
pub(super) fn per_channel(
    builder: &mut Builder<'_>,
    node: &Node<'_>,
    [layer, parameter]: [&str; 2],
    (wire, constant): (&Wire, usize),
    numbers: &HostTensor,
) -> Result<Wire, String> {
    let shape = builder.shape(wire).clone();
    let channels = shape.get(1).copied().unwrap_or(1);
    // Where the channels are among the dimensions of the numbers, counted from the end.
    let from_end = if wire.last { 1 } else { shape.len().saturating_sub(1) };
    let place = numbers.shape.len().checked_sub(from_end);
    let others_are_one = numbers.shape.iter().enumerate().all(|(at, dim)| Some(at) == place || *dim == 1);
    let known = matches!(shape.len(), 2 | 4) && numbers.data.len() == channels && place.is_some();
    if !known || !others_are_one || numbers.shape.len() > shape.len() {
        return node.refuse(format!(
            "has the constant {} beside {:?}; one number for all, or for each channel, is known",
            numbers.shape, wire.seen
        ));
    }
    let made = builder.layer(node, layer, Table::new(), wire, scope(node, constant, parameter))?;
    let sizes = if shape.len() == 4 { vec![channels, 1, 1] } else { vec![channels] };
    builder.store(node, &made, parameter, HostTensor::new(sizes, numbers.data.clone()))?;
    Ok(made)
}

/// The transpose of a matrix.
fn transposed(data: &[f32], [rows, columns]: [usize; 2]) -> HostTensor {
    let turned = (0..columns).flat_map(|column| (0..rows).map(move |row| data[row * columns + column]));
    HostTensor::new([columns, rows], turned.collect())
}
