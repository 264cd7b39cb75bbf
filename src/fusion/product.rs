use std::sync::Arc;

use crate::graph::{Graph, Op, Replacement, Value};
use crate::ops::Epilogue;
use crate::ops::conv2d::Convolution;
use crate::ops::linear::Affine;

/// `activation(conv2d(x))` and `activation(linear(x))`, if backward needs only the result.
pub(super) fn with_activation(graph: &Graph, node: usize) -> Option<Replacement> {
    let convolution = graph.op_at::<Convolution>(node).filter(|op| op.epilogue.is_none());
    let affine = graph.op_at::<Affine>(node).filter(|op| op.epilogue.is_none());
    if convolution.is_none() && affine.is_none() {
        return None;
    }
    let reader = graph.only_reader(Value { node, output: 0 })?;
    let epilogue = Some(Epilogue::of(graph, reader).filter(|epilogue| epilogue.result_tells())?);
    let convolution = convolution.map(|op| {
        let mut op = *op;
        op.epilogue = epilogue;
        Arc::new(op) as Arc<dyn Op>
    });
    Some(Replacement {
        nodes: vec![node, reader],
        named_after: node,
        op: convolution.unwrap_or_else(|| Arc::new(Affine { epilogue })),
        inputs: graph.nodes()[node].inputs.clone(),
        outputs: vec![(Value { node: reader, output: 0 }, 0)],
    })
}
