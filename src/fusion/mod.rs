//! Rewrites of a forward graph: several nodes become one that computes the same and touches memory less often.
//!
//! A rule is a pure function; a fused operator is an ordinary one, a configuration of the operator that it starts from,
//! so both executors gain, and its gradient rule makes the backward pass. Fuse before adding gradients. A value that is
//! read elsewhere, or kept after a run, is never fused away.

mod batch_norm;
mod cross_entropy;
mod global_avg_pool2d;
mod gradient_sum;
mod product;
mod statistics;

use crate::error::Result;
use crate::graph::{Graph, Replacement};

/// Finds the nodes that can be fused beginning with a node.
type Rule = fn(&Graph, usize) -> Option<Replacement>;

/// The rules for a forward graph, in the order in which they are tried.
const RULES: &[Rule] = &[
    batch_norm::with_activation_and_residual,
    product::with_activation,
    global_avg_pool2d::with_flatten,
    statistics::of_convolution,
    statistics::into_batch_norm,
    cross_entropy::with_gradient,
];

/// The rules for a graph with gradients.
const GRADIENT_RULES: &[Rule] = &[gradient_sum::into_activation];

/// The forward graph with everything fused that the rules find.
pub fn fuse(graph: Graph) -> Result<Graph> {
    apply(RULES, graph)
}

/// The graph with everything fused that the rules find in its gradients.
pub fn fuse_gradients(graph: Graph) -> Result<Graph> {
    apply(GRADIENT_RULES, graph)
}

fn apply(rules: &[Rule], graph: Graph) -> Result<Graph> {
    rules.iter().try_fold(graph, |mut graph, rule| {
        let mut node = 0;
        while node < graph.nodes().len() {
            match rule(&graph, node).filter(|replacement| in_order(&graph, replacement)) {
                // The new node comes later, where it is tried again.
                Some(replacement) => graph = graph.replaced(replacement)?,
                None => node += 1,
            }
        }
        Ok(graph)
    })
}

/// Whether nobody reads what the new node makes before the place that it takes.
fn in_order(graph: &Graph, replacement: &Replacement) -> bool {
    let last = replacement.nodes.last().copied().unwrap_or_default();
    let between = (0..last).filter(|node| !replacement.nodes.contains(node));
    let mut read = between.flat_map(|node| &graph.nodes()[node].inputs);
    !read.any(|input| replacement.outputs.iter().any(|(made, _)| made == input))
}
