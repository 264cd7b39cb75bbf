//! Initial weights: bounds and deviations of what the layers draw, for the `init` argument's values.

use serde::Deserialize;
use wgrad::graph::{Graph, Init, Mode, NodeKind, TensorDesc};
use wgrad::ops;
use wgrad::tensor::{CounterRng, Purpose, Shape};

use super::golden::directory;

/// One line of `init.json`.
#[derive(Debug, Deserialize)]
struct Entry {
    kind: String,
    layer: String,
    shape: Vec<usize>,
    tensor: String,
    bound: Option<f64>,
    std: Option<f64>,
}

#[test]
fn initial_values_have_pytorchs_bounds_and_deviations() {
    let text = std::fs::read_to_string(directory().join("init.json")).unwrap();
    let entries: Vec<Entry> = serde_json::from_str(&text).unwrap();
    assert!(!entries.is_empty());
    for entry in entries {
        let (init, shape) = initial(&entry);
        let mut rng = CounterRng::new(11, Purpose::Init, "test", 0);
        let mut values: Vec<f64> = vec![];
        while values.len() < 100_000 {
            values.extend(init.sample(&shape, &mut rng).into_iter().map(f64::from));
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let deviation = (values.iter().map(|x| x * x).sum::<f64>() / count).sqrt();
        let wanted = entry.std.or(entry.bound.map(|bound| bound / 3_f64.sqrt())).unwrap();
        assert!((deviation / wanted - 1.0).abs() < 0.02, "{entry:?}: the deviation is {deviation}");
        assert!(mean.abs() < 0.02 * wanted, "{entry:?}: the mean is {mean}");
        if let Some(bound) = entry.bound {
            let largest = values.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
            let range = 0.99 * bound..=bound * (1.0 + 1e-6);
            assert!(range.contains(&largest), "{entry:?}: the largest value is {largest}");
        }
    }
}

/// What the layer of an entry starts its weight or bias with, and that tensor's shape.
fn initial(entry: &Entry) -> (Init, Shape) {
    let kind = entry.kind.strip_suffix("_fan_in").unwrap_or(&entry.kind);
    let shape = &entry.shape;
    let (arguments, input) = match entry.layer.as_str() {
        "conv2d" => {
            let arguments =
                format!("out_channels = {}\nkernel_size = [{}, {}]", shape[0], shape[2], shape[3]);
            (arguments, vec![1, shape[1], 9, 9])
        }
        "linear" => (format!("out_features = {}", shape[0]), vec![1, shape[1]]),
        other => panic!("this test does not know {other}"),
    };
    let arguments: toml::Table = format!("{arguments}\ninit = \"{kind}\"").parse().unwrap();
    let parse = ops::registry().iter().find(|operator| operator.name == entry.layer).unwrap().layer.unwrap();
    let mut graph = Graph::new(Mode::Train);
    let input = graph.input("input", TensorDesc::f32(input));
    parse(arguments).unwrap().build(&mut graph, input).unwrap();
    let node = graph.nodes().iter().find(|node| node.name == entry.tensor).unwrap();
    let NodeKind::Parameter(init) = &node.kind else { panic!("{} is no parameter", node.name) };
    (*init, node.outputs[0].shape.clone())
}
