//! Nodes that give numbers another shape or order.

use toml::Table;

use super::builder::{Builder, Held, Wire};
use super::node::Node;

/// The sizes of a wire as the file sees them.
pub(super) fn seen(builder: &Builder<'_>, wire: &Wire) -> Vec<usize> {
    let shape = builder.shape(wire).to_vec();
    match shape[..] {
        [n, c, h, w] if wire.last => vec![n, h, w, c],
        _ => shape,
    }
}

/// What `Reshape` makes of sizes: 0 is the size that is there, -1 what is left.
pub(super) fn target(dims: &[usize], wanted: &[i64], zero_is_zero: bool) -> Option<Vec<usize>> {
    let sizes = wanted.iter().enumerate().map(|(place, size)| match size {
        0 if !zero_is_zero => dims.get(place).map(|dim| *dim as i64),
        size => Some(*size),
    });
    let sizes: Vec<i64> = sizes.collect::<Option<_>>()?;
    let known = product(sizes.iter().filter_map(|size| usize::try_from(*size).ok()))?;
    let all = product(dims.iter().copied())?;
    let open = sizes.iter().filter(|size| **size < 0).count();
    if open > 1 || sizes.iter().any(|size| *size < -1) || (open == 1 && (known == 0 || all % known != 0)) {
        return None;
    }
    let made: Vec<usize> =
        sizes.iter().map(|size| usize::try_from(*size).unwrap_or_else(|_| all / known)).collect();
    (product(made.iter().copied()) == Some(all)).then_some(made)
}

pub(super) fn product(mut sizes: impl Iterator<Item = usize>) -> Option<usize> {
    sizes.try_fold(1_usize, |all, size| all.checked_mul(size))
}

/// `Flatten`, `Reshape`, `Squeeze`: what keeps a sample's numbers in order and makes one row of them, or nothing.
pub(super) fn flatten(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.wire(node, 0)?;
    let dims = seen(builder, &wire);
    let rest: usize = dims[1..].iter().product();
    let made = match node.op() {
        "Flatten" => {
            let axis = node.int("axis", 1);
            (axis == 1 || axis + dims.len() as i64 == 1).then(|| vec![dims[0], rest])
        }
        "Reshape" => {
            let wanted = match node.ints("shape") {
                Some(shape) => Some(shape.to_vec()),
                None => builder.ints(node, 1)?,
            };
            target(&dims, &wanted.unwrap_or_default(), node.int("allowzero", 0) != 0)
        }
        _ => {
            let axes = match node.ints("axes") {
                Some(axes) => Some(axes.to_vec()),
                None => builder.ints(node, 1)?,
            };
            let is =
                |place: usize, axis: i64| axis == place as i64 || axis + dims.len() as i64 == place as i64;
            let goes = |place: usize| match &axes {
                Some(axes) => axes.iter().any(|axis| is(place, *axis)),
                None => dims[place] == 1 && place > 0,
            };
            Some((0..dims.len()).filter(|place| !goes(*place)).map(|place| dims[place]).collect())
        }
    };
    let made = made.filter(|made| product(made.iter().copied()) == product(dims.iter().copied()));
    match made {
        Some(made) if made == dims => Ok(wire),
        // One pixel has the same order with channels last.
        Some(made) if made == [dims[0], rest] && (!wire.last || dims[1..3] == [1, 1]) => {
            builder.layer(node, "flatten", Table::new(), &wire, None)
        }
        Some(made) => {
            node.refuse(format!("makes {made:?} of {dims:?}; only one row for each image is known"))
        }
        None => node.refuse(format!("does not keep the number of elements of {dims:?}")),
    }
}

/// `Transpose`: channels to the end and back.
pub(super) fn transpose(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.wire(node, 0)?;
    let perm = node.ints("perm").unwrap_or_default();
    let images = builder.shape(&wire).len() == 4;
    match perm {
        [0, 2, 3, 1] if images && !wire.last => Ok(Wire { last: true, ..wire }),
        [0, 3, 1, 2] if images && wire.last => Ok(Wire { last: false, ..wire }),
        _ if perm.iter().enumerate().all(|(place, from)| *from == place as i64) && !perm.is_empty() => {
            Ok(wire)
        }
        _ => node
            .refuse(format!("has perm = {perm:?}; only channels to the end of images, and back, is known")),
    }
}

/// `ReduceMean` over all pixels.
pub(super) fn mean(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.wire(node, 0)?;
    let axes = match node.ints("axes") {
        Some(axes) => axes.to_vec(),
        None => builder.ints(node, 1)?.unwrap_or_default(),
    };
    let mut places: Vec<i64> =
        axes.iter().map(|axis| if *axis < 0 { axis.saturating_add(4) } else { *axis }).collect();
    places.sort_unstable();
    let pixels: [i64; 2] = if wire.last { [1, 2] } else { [2, 3] };
    if builder.shape(&wire).len() != 4 || places != pixels {
        return node.refuse(format!("is over the axes {axes:?}; only the mean over all pixels is known"));
    }
    let made = builder.layer(node, "global_avg_pool2d", Table::new(), &wire, None)?;
    match node.int("keepdims", 1) {
        0 => builder.layer(node, "flatten", Table::new(), &made, None),
        _ => Ok(made),
    }
}

/// What leaves its input as it is in inference.
pub(super) fn same(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Held, String> {
    builder.wire(node, 0).map(Held::Wire)
}
