use std::collections::HashMap;

use crate::graph::{Graph, NodeKind, Value};

/// When each value is last read, for both executors.
#[derive(Clone, Debug)]
pub struct Liveness {
    /// For each node, whether it has to be computed.
    pub needed: Vec<bool>,
    /// For each node, the values that nobody reads after it.
    pub dies_after: Vec<Vec<Value>>,
}

impl Liveness {
    /// Of a graph: outputs, gradients and statistics live on after the last node.
    pub fn of(graph: &Graph) -> Liveness {
        let needed = graph.needed();
        let mut last_use: HashMap<Value, usize> = HashMap::new();
        for (index, node) in graph.nodes().iter().enumerate().filter(|(index, _)| needed[*index]) {
            if matches!(node.kind, NodeKind::Op(_)) {
                last_use.extend((0..node.outputs.len()).map(|output| (Value { node: index, output }, index)));
            }
            for input in node.inputs.iter().filter(|input| is_computed(graph, **input)) {
                last_use.insert(*input, index);
            }
        }
        for value in kept(graph) {
            last_use.remove(&value);
        }
        let mut dies_after = vec![vec![]; graph.nodes().len()];
        for (value, index) in last_use {
            dies_after[index].push(value);
        }
        for values in &mut dies_after {
            values.sort();
        }
        Liveness { needed, dies_after }
    }
}

/// Values that are read after the last node.
fn kept(graph: &Graph) -> impl Iterator<Item = Value> {
    let statistics = graph.statistic_updates().iter().map(|update| update.batch);
    graph.outputs().values().copied().chain(graph.gradients().values().copied()).chain(statistics)
}

fn is_computed(graph: &Graph, value: Value) -> bool {
    matches!(graph.nodes()[value.node].kind, NodeKind::Op(_))
}
