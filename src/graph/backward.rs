use std::collections::HashMap;
use std::sync::Arc;

use super::{Graph, NodeKind, Op, TensorDesc, Value};
use crate::error::{Error, Result};

/// What an operator's gradient rule sees: the graph to add nodes to, its inputs and outputs, and the gradients that
/// arrive at its outputs.
pub struct Backward<'g> {
    graph: &'g mut Graph,
    node: usize,
    grads: Vec<Option<Value>>,
    needs: Vec<bool>,
}

impl Backward<'_> {
    /// The forward node's input `i`.
    pub fn input(&self, i: usize) -> Value {
        self.graph.nodes()[self.node].inputs[i]
    }

    /// All inputs of the forward node.
    pub fn inputs(&self) -> Vec<Value> {
        self.graph.nodes()[self.node].inputs.clone()
    }

    /// The forward node's output `i`.
    pub fn output(&self, i: usize) -> Value {
        Value { node: self.node, output: i }
    }

    /// Shape and type of a value.
    pub fn desc(&self, value: Value) -> TensorDesc {
        self.graph.desc(value).clone()
    }

    /// The operator that makes a value, if it is one of this type.
    pub fn op_of<O: Op>(&self, value: Value) -> Option<&O> {
        self.graph.op_at(value.node)
    }

    /// The gradient of the first output, which exists whenever the rule is asked.
    pub fn grad_output(&self) -> Value {
        self.grads[0].expect("the reverse walk asks only nodes whose first output has a gradient")
    }

    /// Whether anything needs the gradient of input `i`.
    pub fn needs(&self, i: usize) -> bool {
        self.needs[i]
    }

    /// Adds a node under the forward node's name.
    pub fn apply(&mut self, op: impl Op, inputs: &[Value]) -> Result<Vec<Value>> {
        let name = self.graph.nodes()[self.node].name.clone();
        self.graph.apply_named(name, Arc::new(op), inputs)
    }

    /// [`Backward::apply`] for an operator with one output.
    pub fn apply1(&mut self, op: impl Op, inputs: &[Value]) -> Result<Value> {
        Ok(self.apply(op, inputs)?[0])
    }

    /// Adds a one-output node if input `i` needs its gradient.
    pub fn when_needed(&mut self, i: usize, op: impl Op, inputs: &[Value]) -> Result<Option<Value>> {
        if self.needs[i] { self.apply1(op, inputs).map(Some) } else { Ok(None) }
    }
}

/// Adds to `graph` the gradients of `seeds` (value, upstream gradient) with respect to each of `wrt`, walking the nodes
/// in reverse and adding up contributions through `sum`. `None` where a value does not reach a seed.
pub fn reverse_walk(
    graph: &mut Graph,
    seeds: &[(Value, Value)],
    wrt: &[Value],
    sum: impl Fn(&mut Graph, String, Value, Value) -> Result<Value>,
) -> Result<Vec<Option<Value>>> {
    let depends = depends_on(graph, wrt);
    let mut grads: HashMap<Value, Value> = seeds.iter().copied().collect();
    let last = seeds.iter().map(|(value, _)| value.node).max().unwrap_or(0);
    for index in (0..=last).rev() {
        let node = &graph.nodes()[index];
        let NodeKind::Op(op) = node.kind.clone() else { continue };
        let needs: Vec<bool> = node.inputs.iter().map(|input| depends[input.node]).collect();
        let arrived: Vec<Option<Value>> = (0..node.outputs.len())
            .map(|output| grads.get(&Value { node: index, output }).copied())
            .collect();
        if arrived[0].is_none() || !needs.contains(&true) {
            continue;
        }
        let (inputs, name) = (node.inputs.clone(), node.name.clone());
        let mut context = Backward { graph, node: index, grads: arrived, needs: needs.clone() };
        let contributions = op.backward(&mut context)?;
        if contributions.len() != inputs.len() {
            return Err(Error::Shape {
                op: op.name(),
                node: name,
                message: format!("{} has no gradient", op.pass()),
            });
        }
        for ((input, contribution), needed) in inputs.iter().zip(contributions).zip(needs) {
            let Some(new) = contribution.filter(|_| needed) else { continue };
            debug_assert_eq!(graph.shape(new), graph.shape(*input), "{}: gradient shape", op.name());
            let total = match grads.get(input) {
                Some(&old) => sum(graph, name.clone(), old, new)?,
                None => new,
            };
            grads.insert(*input, total);
        }
    }
    Ok(wrt.iter().map(|value| grads.get(value).copied()).collect())
}

fn depends_on(graph: &Graph, wrt: &[Value]) -> Vec<bool> {
    let mut depends = vec![false; graph.nodes().len()];
    for value in wrt {
        depends[value.node] = true;
    }
    for (index, node) in graph.nodes().iter().enumerate() {
        if node.inputs.iter().any(|input| depends[input.node]) {
            depends[index] = true;
        }
    }
    depends
}
