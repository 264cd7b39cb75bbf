use std::sync::Arc;

use crate::graph::{Graph, Replacement, Value};
use crate::ops::AveragePool;
use crate::ops::flatten::ToRows;
use crate::ops::global_avg_pool2d::GlobalAvgPool2d;

/// `flatten(global_avg_pool2d(x))`: one pixel of some channels is a row as it lies in memory.
pub(super) fn with_flatten(graph: &Graph, node: usize) -> Option<Replacement> {
    let AveragePool(pool) = graph.op_at::<AveragePool<GlobalAvgPool2d>>(node)?;
    let reader = graph.only_reader(Value { node, output: 0 }).filter(|_| !pool.flat)?;
    graph.op_at::<ToRows>(reader)?;
    Some(Replacement {
        nodes: vec![node, reader],
        named_after: node,
        op: Arc::new(AveragePool(GlobalAvgPool2d { flat: true })),
        inputs: graph.nodes()[node].inputs.clone(),
        outputs: vec![(Value { node: reader, output: 0 }, 0)],
    })
}
