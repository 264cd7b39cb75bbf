use std::collections::HashSet;

use crate::graph::{Graph, NodeKind, Value};
use crate::tensor::Shape;

/// What a network is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// One row per operator, in the order of evaluation.
    pub rows: Vec<LayerRow>,
    /// Trained numbers.
    pub parameters: u64,
    /// Numbers in running statistics.
    pub statistics: u64,
    /// Floating-point operations of a forward pass; a multiply-add counts two.
    pub flops: u64,
}

/// One operator of a network.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LayerRow {
    /// Its path, such as `3.body.0`.
    pub name: String,
    /// The operator, as in the registry.
    pub operator: &'static str,
    /// Shape of its output.
    pub output: Shape,
    /// Trained numbers that it reads and no row before it.
    pub parameters: u64,
    /// Floating-point operations of its forward pass.
    pub flops: u64,
}

/// The operators of a graph without gradients, with shapes for the graph's batch, and the totals.
pub fn summary(graph: &Graph) -> Summary {
    let numel = |value: &Value| graph.desc(*value).numel() as u64;
    let mut counted = HashSet::new();
    let mut rows: Vec<LayerRow> = vec![];
    for node in graph.nodes() {
        let NodeKind::Op(op) = &node.kind else { continue };
        let inputs: Vec<_> = node.inputs.iter().map(|value| graph.desc(*value).clone()).collect();
        let is_parameter = |value: &Value| matches!(graph.nodes()[value.node].kind, NodeKind::Parameter(_));
        let new = node.inputs.iter().filter(|value| is_parameter(value) && counted.insert(**value));
        let row = LayerRow {
            // Graph::apply appends the operator and a number where a layer has several nodes.
            name: node.name.split(':').next().unwrap_or_default().to_string(),
            operator: op.name(),
            output: node.outputs[0].shape.clone(),
            parameters: new.map(numel).sum(),
            flops: op.flops(&inputs, &node.outputs),
        };
        match rows.last_mut() {
            Some(last) if last.name == row.name && last.operator == row.operator => last.absorb(row),
            _ => rows.push(row),
        }
    }
    Summary {
        parameters: graph.parameters().iter().map(numel).sum(),
        statistics: graph.statistics().iter().map(numel).sum(),
        flops: rows.iter().map(|row| row.flops).sum(),
        rows,
    }
}

impl LayerRow {
    /// Adds a later node of the same layer.
    fn absorb(&mut self, later: LayerRow) {
        self.output = later.output;
        self.parameters += later.parameters;
        self.flops += later.flops;
    }
}
