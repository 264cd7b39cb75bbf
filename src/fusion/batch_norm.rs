use std::sync::Arc;

use crate::graph::{Graph, Replacement, Value};
use crate::ops::Epilogue;
use crate::ops::add::Add;
use crate::ops::batch_norm::Normalization;

/// `activation(batch_norm(x) + residual)`, or either alone.
pub(super) fn with_activation_and_residual(graph: &Graph, node: usize) -> Option<Replacement> {
    let op = *graph.op_at::<Normalization>(node)?;
    if op.epilogue.is_some() || op.residual {
        return None;
    }
    let (mut nodes, mut inputs) = (vec![node], graph.nodes()[node].inputs.clone());
    let mut last = Value { node, output: 0 };
    let residual = graph.only_reader(last).and_then(|reader| other_addend(graph, reader, last));
    if let Some((add, other)) = residual {
        nodes.push(add);
        inputs.push(other);
        last = Value { node: add, output: 0 };
    }
    let reader = graph.only_reader(last);
    let activation = reader.and_then(|reader| Some((reader, Epilogue::of(graph, reader)?)));
    // With a residual, backward needs what the activation was applied to, unless the result tells.
    let epilogue = activation.filter(|(_, epilogue)| residual.is_none() || epilogue.result_tells());
    if let Some((reader, _)) = epilogue {
        nodes.push(reader);
        last = Value { node: reader, output: 0 };
    }
    if nodes.len() == 1 {
        return None;
    }
    let statistics = 1..graph.nodes()[node].outputs.len();
    let outputs = statistics.map(|output| (Value { node, output }, output)).chain([(last, 0)]);
    let op = Normalization {
        epilogue: epilogue.map(|(_, epilogue)| epilogue),
        residual: residual.is_some(),
        ..op
    };
    Some(Replacement { outputs: outputs.collect(), nodes, named_after: node, op: Arc::new(op), inputs })
}

/// What is added to a value, in the same shape and type.
fn other_addend(graph: &Graph, node: usize, value: Value) -> Option<(usize, Value)> {
    graph.op_at::<Add>(node)?;
    let other = *graph.nodes()[node].inputs.iter().find(|input| **input != value)?;
    (graph.desc(other) == graph.desc(value)).then_some((node, other))
}
