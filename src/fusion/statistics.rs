use std::sync::Arc;

use crate::graph::{Graph, Replacement, Value};
use crate::ops::batch_norm::Normalization;
use crate::ops::conv2d::Convolution;
use crate::tensor::DType;

/// `conv2d` in front of a `batch_norm` that is training: it sums the pixels that it has just made.
pub(super) fn of_convolution(graph: &Graph, node: usize) -> Option<Replacement> {
    let op = graph.op_at::<Convolution>(node).filter(|op| !op.statistics && op.epilogue.is_none())?;
    let output = Value { node, output: 0 };
    let reader = graph.only_reader(output)?;
    let norm = graph.op_at::<Normalization>(reader)?;
    let mut values = graph.nodes()[node].inputs.iter().chain([&output]);
    let floats = values.all(|value| graph.desc(*value).dtype == DType::F32);
    let reads = graph.nodes()[reader].inputs[0] == output && norm.training();
    if !(reads && floats && graph.desc(output).shape[1].is_multiple_of(4)) {
        return None;
    }
    Some(Replacement {
        nodes: vec![node],
        named_after: node,
        op: Arc::new(op.with_statistics()),
        inputs: graph.nodes()[node].inputs.clone(),
        outputs: vec![(output, 0)],
    })
}

/// `batch_norm` of a convolution that gives statistics: it merges them instead of reading the whole tensor.
pub(super) fn into_batch_norm(graph: &Graph, node: usize) -> Option<Replacement> {
    let op = *graph.op_at::<Normalization>(node).filter(|op| op.training() && !op.partials)?;
    let mut inputs = graph.nodes()[node].inputs.clone();
    graph.op_at::<Convolution>(inputs[0].node).filter(|convolution| convolution.statistics)?;
    inputs.insert(1, Value { node: inputs[0].node, output: 1 });
    let outputs = 0..graph.nodes()[node].outputs.len();
    Some(Replacement {
        nodes: vec![node],
        named_after: node,
        op: Arc::new(Normalization { partials: true, ..op }),
        inputs,
        outputs: outputs.map(|output| (Value { node, output }, output)).collect(),
    })
}
