//! Models: the messages for wrong model files, the built-in networks, the builder, and that no text makes it panic.

mod blocks;
mod builder;
mod errors;
mod random;
mod zoo;

use std::collections::BTreeMap;

use wgrad::graph::Graph;

/// Name and shape of everything that a graph stores.
fn stored(graph: &Graph) -> BTreeMap<String, Vec<usize>> {
    let values = graph.parameters().into_iter().chain(graph.statistics());
    values.map(|value| (graph.nodes()[value.node].name.clone(), graph.shape(value).to_vec())).collect()
}
