//! Values that are larger than what a device binds at once: weights, what is laid out like them, and their gradients. They
//! lie in parts of some indices of the first dimension each, and operators bind one part at a time.

use std::collections::HashMap;
use std::ops::Range;

use super::Program;
use crate::error::{Error, Result};
use crate::graph::{Dispatch, Graph, NodeKind, Op, Slot, Value};

/// The values of a graph that lie in parts, because they are larger than what the device binds at once; each with the indices of its parts.
pub struct Split(HashMap<Value, Vec<Range<usize>>>);

impl Split {
    /// Of a graph of a program, by where its parameters lie.
    pub fn of(program: &Program, graph: &Graph) -> Split {
        let mut split = HashMap::new();
        let mut add = |value: Value, stored: Value| {
            if let Some(parts) = program.pages.parts(graph, stored) {
                split.insert(value, parts);
            }
        };
        for (node, kind) in graph.nodes().iter().map(|node| &node.kind).enumerate() {
            let value = Value { node, output: 0 };
            if matches!(kind, NodeKind::Parameter(_) | NodeKind::Gradient) {
                add(value, value);
            }
        }
        graph.half_parameters().into_iter().for_each(|(parameter, half)| add(half, parameter));
        let computed = graph.gradients().iter();
        let computed =
            computed.filter(|(_, value)| matches!(graph.nodes()[value.node].kind, NodeKind::Op(_)));
        computed.for_each(|(parameter, gradient)| add(*gradient, *parameter));
        Split(split)
    }

    /// The indices of a value's parts, if it lies in several.
    pub fn parts(&self, value: Value) -> Option<&[Range<usize>]> {
        self.0.get(&value).map(Vec::as_slice)
    }

    /// The inputs and outputs of a node that lie in parts.
    pub fn of_node(&self, graph: &Graph, index: usize) -> HashMap<Slot, Vec<Range<usize>>> {
        let node = &graph.nodes()[index];
        let inputs = node.inputs.iter().enumerate().map(|(i, value)| (Slot::Input(i), *value));
        let outputs = (0..node.outputs.len()).map(|i| (Slot::Output(i), Value { node: index, output: i }));
        inputs.chain(outputs).filter_map(|(slot, value)| Some((slot, self.0.get(&value)?.clone()))).collect()
    }
}

/// Refuses a node that binds as a whole what lies in parts.
pub(super) fn refuse_whole(
    split: &HashMap<Slot, Vec<Range<usize>>>,
    (name, op): (&str, &dyn Op),
    dispatches: &[Dispatch<Slot>],
) -> Result<()> {
    let mut bound = dispatches.iter().flat_map(|dispatch| &dispatch.bindings);
    let Some(binding) = bound.find(|binding| split.contains_key(&binding.buffer)) else { return Ok(()) };
    let rows = split[&binding.buffer].last().map_or(0, |rows| rows.end);
    Err(Error::Shape {
        op: op.name(),
        node: name.to_string(),
        message: format!(
            "takes {} as a whole, which is larger than what the device binds at once and lies in parts ({rows} rows in {} \
             parts); use --device cpu, a narrower layer, or an optimizer that goes by elements",
            binding.name,
            split[&binding.buffer].len()
        ),
    })
}
