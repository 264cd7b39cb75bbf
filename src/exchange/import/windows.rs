//! Nodes that slide over pixels: convolutions and pools.

use toml::{Table, Value as Toml};

use super::builder::{Around, Builder, Held, Wire};
use super::node::Node;
use super::weighted::scope;
use crate::ops::{Pair, Window};

/// How a window moves, and where zeros are put: above, left, below, right.
struct Sliding {
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    pads: [usize; 4],
}

impl Sliding {
    /// `kernel` is what is known if the node does not say it.
    fn of(node: &Node<'_>, kernel: [usize; 2], images: &Images) -> Result<Sliding, String> {
        let [top, left, bottom, right] = images.pads;
        let size = [images.size[0] + top + bottom, images.size[1] + left + right];
        let mut sliding = Sliding {
            kernel: node.sizes("kernel_shape", 0)?,
            strides: node.sizes("strides", 1)?,
            dilations: node.sizes("dilations", 1)?,
            pads: node.sizes("pads", 0)?,
        };
        if node.ints("kernel_shape").is_none() {
            sliding.kernel = kernel;
        }
        let Sliding { kernel, strides, dilations, .. } = sliding;
        if [kernel, strides, dilations].concat().contains(&0) {
            return node.refuse("has a kernel, stride or dilation of 0");
        }
        let auto = node.text("auto_pad").unwrap_or_default();
        let same = |side: usize| {
            let windows = size[side].div_ceil(strides[side]);
            let needed = (windows - 1) * strides[side] + dilations[side] * (kernel[side] - 1) + 1;
            needed.saturating_sub(size[side])
        };
        match auto.as_str() {
            "" | "NOTSET" => {}
            "VALID" => sliding.pads = [0; 4],
            "SAME_UPPER" => {
                let [h, w] = [same(0), same(1)];
                sliding.pads = [h / 2, w / 2, h - h / 2, w - w / 2];
            }
            "SAME_LOWER" => {
                let [h, w] = [same(0), same(1)];
                sliding.pads = [h - h / 2, w - w / 2, h / 2, w / 2];
            }
            other => return node.refuse(format!("has auto_pad = {other:?}")),
        }
        sliding.pads.iter_mut().zip(images.pads).for_each(|(pad, more)| *pad += more);
        Ok(sliding)
    }

    fn is_symmetric(&self) -> bool {
        self.pads[..2] == self.pads[2..]
    }

    /// What PyTorch's `padding="same"` puts around images.
    fn is_same(&self) -> bool {
        let rest = |side: usize| self.dilations[side] * (self.kernel[side] - 1);
        let [h, w] = [rest(0), rest(1)];
        self.strides == [1, 1] && self.pads == [h / 2, w / 2, h.div_ceil(2), w.div_ceil(2)]
    }

    /// Whether windows are rounded up, so that a pool with as much padding on both sides, as above and to the left, has as
    /// many windows; for pools that ignore padding, which see the same pixels then.
    fn rounded(&self, node: &Node<'_>, size: [usize; 2]) -> Result<bool, String> {
        let Sliding { kernel, strides, dilations, pads: [top, left, bottom, right] } = *self;
        let window = |end: [usize; 2]| Window {
            kernel: kernel.into(),
            stride: strides.into(),
            padding: Pair { h: top, w: left },
            padding_end: end.into(),
            dilation: dilations.into(),
        };
        let [h, w] = size;
        let ceil = node.int("ceil_mode", 0) != 0;
        let wanted = window([bottom, right]).output_rounded(h, w, ceil);
        let fits = |ceil: &bool| window([top, left]).output_rounded(h, w, *ceil) == wanted;
        match [ceil, true, false].into_iter().find(fits).filter(|_| wanted.is_ok()) {
            Some(ceil) => Ok(ceil),
            None => node.refuse(format!("pads by {:?}; only as much on both sides is known", self.pads)),
        }
    }

    /// The arguments that convolutions and pools share.
    fn arguments(&self) -> Table {
        Table::from_iter([
            ("kernel_size".to_string(), pair(self.kernel)),
            ("stride".to_string(), pair(self.strides)),
            ("padding".to_string(), pair([self.pads[0], self.pads[1]])),
        ])
    }
}

/// `3`, or `[3, 5]`
fn pair([h, w]: [usize; 2]) -> Toml {
    let [h, w] = [h, w].map(|size| Toml::Integer(size as i64));
    if h == w { h } else { Toml::Array(vec![h, w]) }
}

/// The images that a node reads.
struct Images {
    wire: Wire,
    /// Height and width.
    size: [usize; 2],
    /// What a `Pad` before the node adds, above, left, below, right, and with what.
    pads: [usize; 4],
    around: Option<Around>,
}

fn images(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Images, String> {
    let (wire, padded) = builder.padded(node)?;
    match builder.shape(&wire).as_4d() {
        Some([_, _, h, w]) if !wire.last => {
            let (pads, around) = padded.map_or(([0; 4], None), |(pads, around)| (pads, Some(around)));
            Ok(Images { wire, size: [h, w], pads, around })
        }
        _ => node.refuse(format!("is not over images [N, C, H, W] but over {:?}", wire.seen)),
    }
}

pub(super) fn conv(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let images = images(builder, node)?;
    let weight = builder.floats(node, 1)?;
    let Some([filters, per_group, r, s]) = weight.shape.as_4d() else {
        return node.refuse(format!("has the weight {}; [K, C/groups, R, S] is known", weight.shape));
    };
    if images.around == Some(Around::Lowest) {
        return node.refuse("reads images padded with the lowest number");
    }
    let (sliding, wire) = (Sliding::of(node, [r, s], &images)?, images.wire);
    let (groups, channels) = (node.int("group", 1), builder.shape(&wire)[1]);
    let per_groups = usize::try_from(groups).ok().and_then(|groups| groups.checked_mul(per_group));
    if sliding.kernel != [r, s] || per_groups != Some(channels) {
        return node.refuse(format!(
            "has the weight {} for a kernel of {:?}, {channels} channels and {groups} groups",
            weight.shape, sliding.kernel
        ));
    }
    let mut arguments = sliding.arguments();
    if !sliding.is_symmetric() {
        let sides = || sliding.pads.iter().map(|pad| Toml::Integer(*pad as i64)).collect();
        let padding = if sliding.is_same() { Toml::from("same") } else { Toml::Array(sides()) };
        arguments.insert("padding".to_string(), padding);
    }
    let bias = if node.input(2).is_some() { Some(builder.floats(node, 2)?) } else { None };
    arguments.insert("out_channels".to_string(), Toml::Integer(filters as i64));
    arguments.insert("dilation".to_string(), pair(sliding.dilations));
    arguments.insert("groups".to_string(), Toml::Integer(groups));
    arguments.insert("bias".to_string(), Toml::Boolean(bias.is_some()));
    let made = builder.layer(node, "conv2d", arguments, &wire, scope(node, 1, "weight"))?;
    builder.store(node, &made, "weight", (*weight).clone())?;
    if let Some(bias) = bias {
        builder.store(node, &made, "bias", (*bias).clone())?;
    }
    Ok(made)
}

pub(super) fn average_pool(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let images = images(builder, node)?;
    let sliding = Sliding::of(node, [0, 0], &images)?;
    if sliding.dilations != [1, 1] {
        return node.refuse("has a dilation, which no averaging pool here has");
    }
    let own_pads = sliding.pads != images.pads;
    let counts = node.int("count_include_pad", 0) != 0;
    let (counts, ceil) = match images.around {
        None if counts && !sliding.is_symmetric() => {
            return node
                .refuse(format!("counts padding of {:?}; as much on both sides is known", sliding.pads));
        }
        None if counts => (true, node.int("ceil_mode", 0) != 0),
        None => (false, sliding.rounded(node, images.size)?),
        Some(Around::Zero) if !own_pads && sliding.is_symmetric() && node.int("ceil_mode", 0) == 0 => {
            (true, false)
        }
        Some(around) => {
            return node.refuse(format!("reads images padded by {:?} ({around:?})", images.pads));
        }
    };
    let mut arguments = sliding.arguments();
    arguments.insert("ceil_mode".to_string(), Toml::Boolean(ceil));
    arguments.insert("count_include_pad".to_string(), Toml::Boolean(counts));
    builder.layer(node, "avg_pool2d", arguments, &images.wire, None)
}

/// Layers that make no negative numbers, so that a zero beside them is never alone the largest.
const NOT_NEGATIVE: [&str; 4] = ["hardsigmoid", "relu", "relu6", "sigmoid"];

/// Padding never wins: what is below and to the right may be more, where that is a last window that hangs over the end.
pub(super) fn max_pool(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let images = images(builder, node)?;
    let sliding = Sliding::of(node, [0, 0], &images)?;
    let not_negative = builder.made_by(&images.wire).is_some_and(|layer| NOT_NEGATIVE.contains(&layer));
    if images.around == Some(Around::Zero) && !not_negative {
        return node.refuse("reads images padded with zeros, which may be the largest");
    }
    let ceil = sliding.rounded(node, images.size)?;
    let mut arguments = sliding.arguments();
    arguments.insert("dilation".to_string(), pair(sliding.dilations));
    arguments.insert("ceil_mode".to_string(), Toml::Boolean(ceil));
    builder.layer(node, "max_pool2d", arguments, &images.wire, None)
}

pub(super) fn global_average_pool(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    match images(builder, node)? {
        Images { wire, around: None, .. } => {
            builder.layer(node, "global_avg_pool2d", Table::new(), &wire, None)
        }
        _ => node.refuse("reads padded images"),
    }
}

/// A window of all pixels, for images of this size.
pub(super) fn global_max_pool(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let images = images(builder, node)?;
    if images.around.is_some() {
        return node.refuse("reads padded images");
    }
    let arguments = Table::from_iter([("kernel_size".to_string(), pair(images.size))]);
    builder.layer(node, "max_pool2d", arguments, &images.wire, None)
}

/// Means over boxes as products with constant matrices, rows from the left and columns from the right: how wgrad writes
/// `adaptive_avg_pool2d` where boxes are not of one size.
pub(super) fn means(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let rows = builder.floats(node, 0)?;
    let wire = builder.wire(node, 1)?;
    let behind = builder.only_reader(node.output()).and_then(|(number, reader)| {
        let Some(Held::Floats(columns)) = builder.held(reader.input.get(1)?) else { return None };
        let of_rows = reader.op_type.as_deref() == Some("MatMul") && reader.input[0] == node.output();
        of_rows.then(|| (number, reader.output.first().cloned().unwrap_or_default(), columns.clone()))
    });
    if let ([_, _, h, w], Some((number, name, columns))) = (&builder.shape(&wire)[..], behind)
        && let (Some([p, own_h]), Some([own_w, q])) = (rows.shape.as_2d(), columns.shape.as_2d())
        && (own_h, own_w) == (*h, *w)
        && !wire.last
        && is_means([p, own_h], |part, at| rows.data[part * own_h + at])
        && is_means([q, own_w], |part, at| columns.data[at * q + part])
    {
        let arguments = Table::from_iter([("output_size".to_string(), pair([p, q]))]);
        let made = builder.layer(node, "adaptive_avg_pool2d", arguments, &wire, None)?;
        builder.take_in(number);
        builder.hold(&name, Held::Wire(made.clone()));
        return Ok(made);
    }
    node.refuse(format!(
        "multiplies {} with {:?}; means over parts of images are known",
        rows.shape, wire.seen
    ))
}

/// Whether each part's factors are those of a mean over it: part i is from floor(i size / parts) to
/// ceil((i + 1) size / parts).
fn is_means([parts, size]: [usize; 2], factor: impl Fn(usize, usize) -> f32) -> bool {
    (0..parts).all(|part| {
        let (start, end) = (part * size / parts, ((part + 1) * size).div_ceil(parts));
        let share = 1.0 / (end - start) as f32;
        (0..size).all(|at| factor(part, at) == if (start..end).contains(&at) { share } else { 0.0 })
    })
}
