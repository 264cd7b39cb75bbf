use crate::graph::{Graph, Replacement, Value};
use crate::ops::Epilogue;
use crate::ops::add::Add;

/// `(a + b) f'(x)`: the gradients that arrive at an activation from two readers, as at the end of a residual block.
pub(super) fn into_activation(graph: &Graph, node: usize) -> Option<Replacement> {
    graph.op_at::<Add>(node)?;
    let sum = Value { node, output: 0 };
    let reader = graph.only_reader(sum)?;
    let op = Epilogue::gradient_at(graph, reader)?;
    let (terms, inputs) = (&graph.nodes()[node].inputs, &graph.nodes()[reader].inputs);
    let same = terms.iter().all(|term| graph.desc(*term) == graph.desc(sum));
    if !same || inputs.len() != 2 || inputs[0] != sum {
        return None;
    }
    Some(Replacement {
        nodes: vec![node, reader],
        named_after: reader,
        op,
        inputs: vec![terms[0], inputs[1], terms[1]],
        outputs: vec![(Value { node: reader, output: 0 }, 0)],
    })
}
