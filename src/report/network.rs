//! A drawing of a network as SVG: a box for each layer, in rows by depth, branches beside each other.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::page::render;
use crate::error::Result;
use crate::graph::{Graph, NodeKind};

/// Width of a box, and from one column of boxes to the next.
const BOX: f64 = 270.0;
const COLUMN: f64 = BOX + 36.0;
/// Heights of boxes with and without parameters, and the gap between rows that do not touch.
const TALL: f64 = 40.0;
const LOW: f64 = 22.0;
const GAP: f64 = 22.0;
/// From one track of shortcuts to the next.
const TRACK: f64 = 16.0;
const MARGIN: f64 = 20.0;

/// A layer with its place.
#[derive(Debug, Default)]
struct Layer {
    name: String,
    operator: String,
    shape: String,
    parameters: u64,
    kind: &'static str,
    inputs: Vec<usize>,
    /// Whether it has weights or joins branches: then it stands by itself.
    stands: bool,
    depth: usize,
    column: usize,
}

#[derive(Serialize)]
struct Picture {
    title: String,
    width: f64,
    height: f64,
    boxes: Vec<Box>,
    edges: Vec<String>,
    legend: Vec<(&'static str, f64)>,
}

#[derive(Serialize)]
struct Box {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    kind: &'static str,
    name: String,
    operator: String,
    shape: String,
    parameters: Option<String>,
}

/// Draws the layers of a graph without gradients.
pub fn drawing(title: &str, graph: &Graph) -> Result<String> {
    let mut layers = layers(graph);
    place(&mut layers);
    let rows = Rows::of(&layers);
    let tracks = tracks(&layers);
    let columns = layers.iter().map(|layer| layer.column + 1).max().unwrap_or(1);
    let count = tracks.values().map(|track| track + 1).max().unwrap_or(0);
    let right = MARGIN + columns as f64 * COLUMN - (COLUMN - BOX);
    let mut edges = vec![];
    for (index, layer) in layers.iter().enumerate() {
        for &input in &layer.inputs {
            let track = tracks.get(&(input, index)).map(|track| right + TRACK * (*track as f64 + 1.0));
            edges.extend(edge(&layers, &rows, (input, index), track));
        }
    }
    let boxes = layers.iter().map(|layer| Box {
        x: left(layer),
        y: rows.tops[layer.depth],
        width: BOX,
        height: if layer.parameters > 0 { TALL } else { LOW },
        kind: layer.kind,
        name: shortened(&layer.name, 26),
        operator: layer.operator.clone(),
        shape: layer.shape.clone(),
        parameters: (layer.parameters > 0).then(|| grouped(layer.parameters)),
    });
    let kinds = ["product", "norm", "activation", "pool", "join", "shape"];
    let legend = kinds.into_iter().enumerate().map(|(place, kind)| (kind, MARGIN + place as f64 * 92.0));
    let picture = Picture {
        title: title.to_string(),
        width: (right + TRACK * (count as f64 + 1.0)).max(MARGIN + kinds.len() as f64 * 92.0) + MARGIN,
        height: rows.bottom + MARGIN,
        boxes: boxes.collect(),
        edges,
        legend: legend.collect(),
    };
    render("network.svg", &picture)
}

/// The layers of a graph: the nodes of one layer together, parameters left out.
fn layers(graph: &Graph) -> Vec<Layer> {
    let mut layers: Vec<Layer> = vec![];
    let mut of_node: HashMap<usize, usize> = HashMap::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        let shape = node.outputs.first().map(|desc| text_of(&desc.shape)).unwrap_or_default();
        let (name, operator) = match &node.kind {
            NodeKind::Input => (node.name.clone(), "input".to_string()),
            // What a layer of several nodes appends to its name comes after a colon.
            NodeKind::Op(op) => {
                (node.name.split(':').next().unwrap_or_default().to_string(), op.name().to_string())
            }
            _ => continue,
        };
        let mut inputs: Vec<usize> =
            node.inputs.iter().filter_map(|value| of_node.get(&value.node).copied()).collect();
        inputs.dedup();
        let stored = node.inputs.iter().map(|value| value.node).collect::<HashSet<_>>();
        let parameters = stored.iter().map(|&node| &graph.nodes()[node]);
        let parameters = parameters.filter(|node| matches!(node.kind, NodeKind::Parameter(_)));
        let parameters: u64 = parameters.map(|node| node.outputs[0].numel() as u64).sum();
        let same = layers.last_mut().filter(|last| last.name == name && last.operator == operator);
        if let Some(last) = same {
            last.shape = shape;
            last.parameters += parameters;
            of_node.insert(index, layers.len() - 1);
            continue;
        }
        let keeps_shape = inputs.first().is_some_and(|&input: &usize| layers[input].shape == shape);
        let kind = match () {
            () if operator == "input" => "input",
            () if inputs.len() > 1 => "join",
            () if operator.contains("norm") => "norm",
            () if parameters > 0 => "product",
            () if operator.contains("pool") => "pool",
            () if keeps_shape => "activation",
            () => "shape",
        };
        let stands = !matches!(kind, "norm" | "activation");
        of_node.insert(index, layers.len());
        layers.push(Layer { name, operator, shape, parameters, kind, inputs, stands, ..Layer::default() });
    }
    layers
}

/// A shape without the batch.
fn text_of(shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().skip(1).map(usize::to_string).collect();
    dims.join(" x ")
}

/// Gives each layer its row, one below the lowest that it reads, and a column: that of the first it reads, if it is free.
fn place(layers: &mut [Layer]) {
    let mut taken: HashSet<(usize, usize)> = HashSet::new();
    for index in 0..layers.len() {
        let depth = layers[index].inputs.iter().map(|&input| layers[input].depth + 1).max().unwrap_or(0);
        let wanted = layers[index].inputs.iter().map(|&input| layers[input].column).min().unwrap_or(0);
        let column = (wanted..).find(|column| !taken.contains(&(depth, *column))).unwrap_or(wanted);
        taken.insert((depth, column));
        (layers[index].depth, layers[index].column) = (depth, column);
    }
}

/// Where rows begin.
struct Rows {
    tops: Vec<f64>,
    heights: Vec<f64>,
    bottom: f64,
}

impl Rows {
    fn of(layers: &[Layer]) -> Rows {
        let count = layers.iter().map(|layer| layer.depth + 1).max().unwrap_or(0);
        let mut readers = vec![0; layers.len()];
        layers.iter().flat_map(|layer| &layer.inputs).for_each(|&input| readers[input] += 1);
        let mut rows = Rows { tops: vec![], heights: vec![LOW; count], bottom: MARGIN + 50.0 };
        let mut touches = vec![true; count];
        for layer in layers {
            let height = if layer.parameters > 0 { TALL } else { LOW };
            let row = &mut rows.heights[layer.depth];
            *row = if height > *row { height } else { *row };
            // A norm or an activation stays with the layer before it, if it is the only one to read that.
            let glued = !layer.stands
                && layer.inputs.first().is_some_and(|&input| {
                    let before = &layers[input];
                    readers[input] == 1 && before.column == layer.column && before.depth + 1 == layer.depth
                });
            touches[layer.depth] &= glued;
        }
        for (height, touches) in rows.heights.iter().zip(touches) {
            rows.bottom += if touches || rows.tops.is_empty() { 0.0 } else { GAP };
            rows.tops.push(rows.bottom);
            rows.bottom += height;
        }
        rows
    }
}

/// Shortcuts that pass layers in their own column run beside all columns; each has a track that is free for its rows.
fn tracks(layers: &[Layer]) -> HashMap<(usize, usize), usize> {
    let taken: HashSet<(usize, usize)> = layers.iter().map(|layer| (layer.depth, layer.column)).collect();
    let mut shortcuts: Vec<(usize, usize)> = vec![];
    for (index, layer) in layers.iter().enumerate() {
        for &input in &layer.inputs {
            let before = &layers[input];
            let mut between = before.depth + 1..layer.depth;
            if between.any(|depth| taken.contains(&(depth, before.column))) {
                shortcuts.push((input, index));
            }
        }
    }
    // Short ones first: they lie inside longer ones.
    shortcuts.sort_by_key(|&(from, to)| (layers[to].depth - layers[from].depth, from));
    let mut busy: Vec<Vec<(usize, usize)>> = vec![];
    let mut tracks = HashMap::new();
    for (from, to) in shortcuts {
        let rows = (layers[from].depth, layers[to].depth);
        let free = |track: &Vec<(usize, usize)>| track.iter().all(|&(a, b)| b <= rows.0 || rows.1 <= a);
        let track = busy.iter().position(free).unwrap_or(busy.len());
        if track == busy.len() {
            busy.push(vec![]);
        }
        busy[track].push(rows);
        tracks.insert((from, to), track);
    }
    tracks
}

fn left(layer: &Layer) -> f64 {
    MARGIN + layer.column as f64 * COLUMN
}

/// The path of an edge; none between boxes that touch.
fn edge(layers: &[Layer], rows: &Rows, (from, to): (usize, usize), track: Option<f64>) -> Option<String> {
    let (before, after) = (&layers[from], &layers[to]);
    let height = |layer: &Layer| if layer.parameters > 0 { TALL } else { LOW };
    let bottom = rows.tops[before.depth] + height(before);
    let top = rows.tops[after.depth];
    if let Some(x) = track {
        let start = (left(before) + BOX, rows.tops[before.depth] + height(before) - 8.0);
        let end = (left(after) + BOX, top + 9.0);
        return Some(format!(
            "M{} {}H{}q8 0 8 8V{}q0 8 -8 8H{}",
            start.0,
            start.1,
            x - 8.0,
            end.1 - 8.0,
            end.0 + 4.0
        ));
    }
    let (x, end) = (left(before) + BOX / 2.0, left(after) + BOX / 2.0);
    if top - bottom < 1.0 {
        return None;
    }
    if before.column == after.column {
        return Some(format!("M{x} {bottom}V{}", top - 4.0));
    }
    // Down its own column as far as the row above, then over.
    let turn = top - GAP;
    let middle = top - GAP / 2.0;
    Some(format!("M{x} {bottom}V{turn}C{x} {middle} {end} {middle} {end} {}", top - 4.0))
}

fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_string();
    }
    // The end of a path tells layers apart.
    let tail: String = text.chars().skip(count - most + 2).collect();
    format!("..{tail}")
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let groups = tail.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let all: Vec<String> = (!head.is_empty()).then(|| head.to_string()).into_iter().chain(groups).collect();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart_and_names_keep_their_ends() {
        assert_eq!([0, 999, 1000, 11_173_962].map(grouped), ["0", "999", "1,000", "11,173,962"]);
        assert_eq!(shortened("features.18.conv.0.1", 10), "..conv.0.1");
    }

    #[test]
    fn branches_stand_beside_each_other_and_shortcuts_on_tracks() {
        let layer = |inputs: &[usize]| Layer { inputs: inputs.to_vec(), stands: true, ..Layer::default() };
        // A block with a shortcut (0 to 3), and one with a branch (4).
        let mut layers = vec![
            layer(&[]),
            layer(&[0]),
            layer(&[1]),
            layer(&[2, 0]),
            layer(&[3]),
            layer(&[3]),
            layer(&[5]),
            layer(&[6, 4]),
        ];
        place(&mut layers);
        let places: Vec<(usize, usize)> = layers.iter().map(|layer| (layer.depth, layer.column)).collect();
        assert_eq!(places, [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (4, 1), (5, 1), (6, 0)]);
        assert_eq!(tracks(&layers), HashMap::from([((0, 3), 0)]));
    }
}
