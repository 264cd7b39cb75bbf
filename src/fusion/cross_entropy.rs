use std::sync::Arc;

use crate::graph::{Graph, Mode, Replacement, Value};
use crate::ops::cross_entropy::CrossEntropy;

/// In training, the loss with its gradient.
pub(super) fn with_gradient(graph: &Graph, node: usize) -> Option<Replacement> {
    let op = *graph.op_at::<CrossEntropy>(node)?;
    if op.with_gradient || graph.mode() != Mode::Train {
        return None;
    }
    let outputs = [0, 2].map(|output| (Value { node, output }, output)).to_vec();
    // What is for the gradient alone is not there any more; as an output of the graph it stays.
    if graph.is_read(Value { node, output: 1 }) {
        return None;
    }
    Some(Replacement {
        nodes: vec![node],
        named_after: node,
        op: Arc::new(op.with_gradient()),
        inputs: graph.nodes()[node].inputs.clone(),
        outputs,
    })
}
