//! Nodes that give numbers other sizes or another order. They make no layer: a wire says how the file sees it, and the
//! layers that read it decide what they can take.

use toml::Table;

use super::super::proto::data_type;
use super::arrays::Cut;
use super::builder::{Around, Builder, Held, Pending, Wire};
use super::node::Node;

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

/// The place of an axis, which counts from the end if it is negative, among `rank`.
pub(super) fn place(axis: i64, rank: usize) -> Option<usize> {
    let from_end = |axis: i64| axis.checked_add(rank as i64);
    let place = if axis < 0 { from_end(axis)? } else { axis };
    usize::try_from(place).ok().filter(|place| *place < rank)
}

/// What `Squeeze` and `Unsqueeze` leave of sizes; without axes, `Squeeze` drops all that are 1.
pub(super) fn squeezed(op: &str, dims: &[usize], axes: Option<&[i64]>) -> Option<Vec<usize>> {
    let places = |rank: usize| axes?.iter().map(|axis| place(*axis, rank)).collect::<Option<Vec<usize>>>();
    if op == "Unsqueeze" {
        let rank = dims.len().checked_add(axes?.len())?;
        let (places, mut old) = (places(rank)?, dims.iter());
        let made = (0..rank).map(|place| if places.contains(&place) { Some(1) } else { old.next().copied() });
        return made.collect::<Option<_>>().filter(|_| old.next().is_none());
    }
    let goes: Vec<usize> = match axes {
        Some(_) => places(dims.len())?,
        None => (0..dims.len()).filter(|place| dims[*place] == 1).collect(),
    };
    let kept = dims.iter().enumerate().filter(|(place, _)| !goes.contains(place));
    goes.iter().all(|place| dims[*place] == 1).then(|| kept.map(|(_, dim)| *dim).collect())
}

/// A list of integers that is an attribute in some versions of ONNX and an input in others.
pub(super) fn list(builder: &Builder<'_>, node: &Node<'_>, name: &str) -> Result<Option<Vec<i64>>, String> {
    match node.ints(name) {
        Some(values) => Ok(Some(values.to_vec())),
        None => builder.ints(node, 1),
    }
}

/// `Flatten`, `Reshape`, `Squeeze`, `Unsqueeze`: the same numbers in the same order.
pub(super) fn reshape(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.view(node, 0)?;
    let dims = &wire.seen;
    let made = match node.op() {
        "Flatten" => {
            let axis = node.int("axis", 1);
            let axis = if axis == dims.len() as i64 { Some(dims.len()) } else { place(axis, dims.len()) };
            axis.map(|axis| vec![dims[..axis].iter().product(), dims[axis..].iter().product()])
        }
        "Reshape" => {
            let wanted = list(builder, node, "shape")?;
            target(dims, &wanted.unwrap_or_default(), node.int("allowzero", 0) != 0)
        }
        op => squeezed(op, dims, list(builder, node, "axes")?.as_deref()),
    };
    match made {
        Some(seen) if product(seen.iter().copied()) == product(dims.iter().copied()) => {
            Ok(Wire { seen, ..wire })
        }
        _ => node.refuse(format!("does not keep the number of elements of {dims:?}")),
    }
}

/// `Gather` of all elements in their order, as exporters write a view of memory.
pub(super) fn gather(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.view(node, 0)?;
    let Held::Ints(places) = builder.input(node, 1)? else {
        return node.refuse("gathers at places that are computed");
    };
    let all_in_order = places.values.iter().enumerate().all(|(place, at)| *at == place as i64);
    match wire.seen[..] {
        [all] if all_in_order && places.values.len() == all => Ok(Wire { seen: places.dims, ..wire }),
        _ => node.refuse(format!("takes some of {:?}; wgrad has no such operator", wire.seen)),
    }
}

/// `Slice` that leaves nothing out.
pub(super) fn slice(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.view(node, 0)?;
    let ints = |i: usize| match builder.input(node, i) {
        Ok(Held::Ints(array)) => Some(array),
        _ => None,
    };
    let cuts = super::constants::cuts(node, wire.seen.len(), &ints);
    let whole = |cut: &Cut| {
        cut.step == 1
            && cut.places(wire.seen[cut.axis]).is_some_and(|places| places.len() == wire.seen[cut.axis])
    };
    match cuts {
        Some(cuts) if cuts.iter().all(whole) => Ok(wire),
        _ => node.refuse(format!("takes a part of {:?}; wgrad has no such operator", wire.seen)),
    }
}

/// `Transpose`: channels to the end and back.
pub(super) fn transpose(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.view(node, 0)?;
    let rank = wire.seen.len();
    let reversed: Vec<i64> = (0..rank as i64).rev().collect();
    let perm = node.ints("perm").unwrap_or(&reversed);
    let from = |place: usize| perm.get(place).and_then(|from| wire.seen.get(usize::try_from(*from).ok()?));
    let seen: Option<Vec<usize>> = (0..rank).map(|place| from(place).copied()).collect();
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    let Some(seen) = seen.filter(|_| sorted.iter().rev().eq(&reversed)) else {
        return node.refuse(format!("has perm = {perm:?} for {:?}", wire.seen));
    };
    // Where only sizes of 1 change their place, numbers keep theirs.
    let moved = perm.iter().filter(|from| wire.seen[**from as usize] != 1);
    if moved.is_sorted() {
        return Ok(Wire { seen, ..wire });
    }
    let images = wire.seen.len() == 4 && builder.shape(&wire).len() == 4;
    let wire = if images { builder.settled(node, wire)? } else { wire };
    match perm {
        [0, 2, 3, 1] if images && !wire.last => Ok(Wire { last: true, seen, ..wire }),
        [0, 3, 1, 2] if images && wire.last => Ok(Wire { last: false, seen, ..wire }),
        _ => node.refuse(format!(
            "has perm = {perm:?} of {:?}; only channels to the end of images, and back, is known",
            wire.seen
        )),
    }
}

/// `ReduceMean` over all pixels.
pub(super) fn mean(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Wire, String> {
    let wire = builder.view(node, 0)?;
    let axes = list(builder, node, "axes")?.unwrap_or_default();
    let places: Option<Vec<usize>> = axes.iter().map(|axis| place(*axis, wire.seen.len())).collect();
    let mut places = places.unwrap_or_default();
    places.sort_unstable();
    // What is left, and the mean's sizes with the axes kept.
    let left: Vec<usize> =
        (0..wire.seen.len()).filter(|at| !places.contains(at)).map(|at| wire.seen[at]).collect();
    let kept: Vec<usize> =
        wire.seen.iter().enumerate().map(|(at, dim)| if places.contains(&at) { 1 } else { *dim }).collect();
    let together = places.windows(2).all(|two| two[0] + 1 == two[1]);
    let pixels_from = if wire.last { 1 } else { 2 };
    match builder.shape(&wire)[..] {
        [n, c, h, w]
            if together && left == [n, c] && (places.first() == Some(&pixels_from) || h * w == 1) =>
        {
            let made = builder.layer(node, "global_avg_pool2d", Table::new(), &wire, None)?;
            let seen = if node.int("keepdims", 1) == 0 { left } else { kept };
            Ok(Wire { seen, last: false, ..made })
        }
        _ => node.refuse(format!(
            "is over the axes {axes:?} of {:?}; only the mean over all pixels is known",
            wire.seen
        )),
    }
}

/// What leaves its input as it is in inference.
pub(super) fn same(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Held, String> {
    if node.op() == "Cast" && node.int("to", 0) != i64::from(data_type::FLOAT) {
        return node.refuse(format!("makes type {} of f32 (type 1)", node.int("to", 0)));
    }
    let training = node.op() == "Dropout" && builder.ints(node, 2)?.is_some_and(|values| values != [0]);
    if training && builder.floats(node, 1)?.data[..] != [0.0] {
        return node.refuse("drops elements at random, as only training does");
    }
    builder.view(node, 0).map(Held::Wire)
}

/// `Pad` of images, which becomes part of the layer behind it.
pub(super) fn pad(builder: &mut Builder<'_>, node: &Node<'_>) -> Result<Held, String> {
    let wire = builder.wire(node, 0)?;
    let mode = node.text("mode").unwrap_or_else(|| "constant".to_string());
    let value = match node.input(2) {
        Some(_) => builder.floats(node, 2)?.data.first().copied().unwrap_or(0.0),
        None => node.float("value", 0.0),
    };
    let around = match value {
        0.0 => Around::Zero,
        _ if value == f32::NEG_INFINITY || value == f32::MIN => Around::Lowest,
        _ => return node.refuse(format!("pads with {value}; 0, or -inf before a max pool, is known")),
    };
    let pads = list(builder, node, "pads")?.unwrap_or_default();
    let sizes: Option<Vec<usize>> =
        pads.iter().map(|pad| usize::try_from(*pad).ok().filter(|pad| *pad < 1 << 15)).collect();
    if sizes.as_ref().is_some_and(|sizes| sizes.iter().all(|size| *size == 0)) {
        return Ok(Held::Wire(wire));
    }
    let axes = builder.ints(node, 3)?.unwrap_or_else(|| (0..wire.seen.len() as i64).collect());
    let places: Option<Vec<usize>> = axes.iter().map(|axis| place(*axis, wire.seen.len())).collect();
    let known = sizes.zip(places).filter(|(sizes, places)| sizes.len() == 2 * places.len());
    let Some((sizes, places)) = known.filter(|_| mode == "constant" && wire.seen.len() == 4) else {
        return node.refuse(format!("pads by {pads:?} ({mode}); zeros around images are known"));
    };
    let first = if wire.last { 1 } else { 2 };
    let mut around_pixels = [0; 4];
    for (number, size) in sizes.iter().enumerate().filter(|(_, size)| **size != 0) {
        let (end, place) = (number / places.len(), places[number % places.len()]);
        match place.checked_sub(first).filter(|side| *side < 2) {
            Some(side) => around_pixels[2 * end + side] = *size,
            None => return node.refuse(format!("pads by {pads:?}; only height and width are padded")),
        }
    }
    Ok(Held::Pending(Pending::Padded(around_pixels, around), wire))
}
