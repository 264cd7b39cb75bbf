//! Nodes that normalise.

use toml::{Table, Value as Toml};

use super::builder::{Builder, Wire};
use super::node::Node;
use super::number;
use super::weighted::{scope, vector};
use crate::tensor::HostTensor;

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
        builder.store(node, &made, name, tensor)?;
    }
    Ok(made)
}

/// Over each channel of images; where the file sees groups of channels in their place, over these.
pub(super) fn instance_norm(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.view(node, 0)?;
    if let [n, c, _, _] = builder.shape(&wire)[..]
        && let [images, groups, _, ..] = wire.seen[..]
        && !wire.last
        && builder.shape(&wire)[..] != wire.seen
        && images == n
        && groups > 0
        && c.is_multiple_of(groups)
    {
        return normalised_in_groups(builder, node, &wire, groups);
    }
    let wire = builder.settled(node, wire)?;
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
        builder.store(node, &made, name, tensor)?;
    }
    Ok(made)
}

/// `GroupNormalization`, which has a number for each group before version 21 of the operators, then for each channel.
pub(super) fn group_norm(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.wire(node, 0)?;
    match usize::try_from(node.int("num_groups", 0)) {
        Ok(groups) if groups > 0 && !wire.last => normalised_in_groups(builder, node, &wire, groups),
        _ => node.refuse("has no groups, or is over images with channels last"),
    }
}

/// `group_norm` with numbers for each group or channel, which are left out where they do nothing.
fn normalised_in_groups(
    builder: &mut Builder<'_>,
    node: &Node<'_>,
    wire: &Wire,
    groups: usize,
) -> Result<Wire, String> {
    let channels = builder.shape(wire).get(1).copied().unwrap_or(1);
    let per_channel = |tensor: &HostTensor| match tensor.data.len() {
        count if count == groups => {
            let data = (0..channels).map(|channel| tensor.data[channel * groups / channels]).collect();
            Ok(HostTensor::new([channels], data))
        }
        _ => vector(node, tensor, channels),
    };
    let (weight, bias) = (per_channel(&*builder.floats(node, 1)?)?, per_channel(&*builder.floats(node, 2)?)?);
    let affine = weight.data.iter().any(|value| *value != 1.0) || bias.data.iter().any(|value| *value != 0.0);
    let arguments = Table::from_iter([
        ("num_groups".to_string(), Toml::Integer(groups as i64)),
        ("eps".to_string(), number(node.float("epsilon", 1e-5))),
        ("affine".to_string(), Toml::Boolean(affine)),
    ]);
    let made = builder.layer(node, "group_norm", arguments, wire, scope(node, 1, "weight"))?;
    if affine {
        builder.store(node, &made, "weight", weight)?;
        builder.store(node, &made, "bias", bias)?;
    }
    Ok(Wire { seen: wire.seen.clone(), ..made })
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
    builder.store(node, &made, "weight", (*weight).clone())?;
    if let Some(bias) = bias {
        builder.store(node, &made, "bias", bias)?;
    }
    Ok(made)
}
