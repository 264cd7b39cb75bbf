use std::sync::Arc;

use crate::graph::{Graph, Mode, Replacement, Value};
use crate::ops::cross_entropy::CrossEntropy;

/// In training, the loss with its gradient.
pub(super) fn with_gradient(graph: &Graph, node: usize) -> Option<Replacement> {
    let op = *graph.op_at::<CrossEntropy>(node)?;
    if op.with_gradient || graph.mode() != Mode::Train {
        return None;
    }
    let outputs = vec![(Value { node, output: 0 }, 0)];
    // What is for the gradient alone is not there any more; as an output of the graph it stays.
    let rest = (1..graph.nodes()[node].outputs.len()).map(|output| Value { node, output });
    if rest.into_iter().any(|value| graph.is_read(value)) {
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
