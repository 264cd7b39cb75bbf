use std::collections::HashMap;
use std::sync::Arc;

use super::autocast::Autocast;
use super::{Graph, NodeKind, Op, StatisticUpdate, Value};
use crate::error::Result;

/// Nodes of a graph, and the one node that computes the same.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// The nodes that go, in order; the new node takes the place of the last one.
    pub nodes: Vec<usize>,
    /// The node whose name the new one has; a name keys random numbers.
    pub named_after: usize,
    /// The new operator.
    pub op: Arc<dyn Op>,
    /// What it reads.
    pub inputs: Vec<Value>,
    /// Values of the nodes that go, each with the new node's output that is the same.
    pub outputs: Vec<(Value, usize)>,
}

/// A value that is made again, because what was made first is not kept so long.
#[derive(Clone, Debug)]
pub struct Again {
    /// The value.
    pub value: Value,
    /// The node before which it is made: this and later ones read it then.
    pub before: usize,
    /// What makes it, in the same bits.
    pub op: Arc<dyn Op>,
    /// From what.
    pub inputs: Vec<Value>,
}

impl Graph {
    /// The same graph with some nodes replaced by one. All names, outputs, statistics and gradients stay.
    ///
    /// Nobody else may read a value that goes, unless the replacement has it among its outputs.
    pub fn replaced(&self, replacement: Replacement) -> Result<Graph> {
        let mut rebuilt = self.emptied();
        let mut new_of: HashMap<Value, Value> = HashMap::new();
        let at = replacement.nodes.last().copied();
        for index in 0..self.nodes.len() {
            if !replacement.nodes.contains(&index) {
                let moved = rebuilt.push_moved(self, index, &new_of);
                new_of.extend(moved);
            } else if at == Some(index) {
                let inputs: Vec<Value> = replacement.inputs.iter().map(|input| new_of[input]).collect();
                let name = self.nodes[replacement.named_after].name.clone();
                let new = rebuilt.apply_named(name, replacement.op.clone(), &inputs)?;
                for &(old, output) in &replacement.outputs {
                    debug_assert_eq!(self.desc(old), rebuilt.desc(new[output]), "a replacement keeps shapes");
                    new_of.insert(old, new[output]);
                }
            }
        }
        rebuilt.take_over(self, &new_of);
        Ok(rebuilt)
    }

    /// The same graph with some values made again: by nodes of the same names, which key random numbers.
    pub fn with_again(&self, mut again: Vec<Again>) -> Result<Graph> {
        // What is made from a value that is made again at the same place follows it, as in the graph.
        again.sort_by_key(|again| (again.before, again.value));
        let mut again = again.into_iter().peekable();
        let mut rebuilt = self.emptied();
        let (mut new_of, mut latest): (HashMap<Value, Value>, HashMap<Value, Value>) = Default::default();
        for index in 0..self.nodes.len() {
            while let Some(Again { value, op, inputs, .. }) = again.next_if(|again| again.before == index) {
                let inputs: Vec<Value> = inputs.iter().map(|input| latest[input]).collect();
                let made = rebuilt.apply_named(self.nodes[value.node].name.clone(), op, &inputs)?[0];
                debug_assert_eq!(
                    self.desc(value),
                    rebuilt.desc(made),
                    "what is made again has the same shape"
                );
                latest.insert(value, made);
            }
            let moved = rebuilt.push_moved(self, index, &latest);
            new_of.extend(moved.iter().copied());
            latest.extend(moved);
        }
        rebuilt.take_over(self, &new_of);
        Ok(rebuilt)
    }

    /// The same graph without nodes and what refers to them.
    fn emptied(&self) -> Graph {
        Graph {
            scope: vec![],
            nodes: Vec::with_capacity(self.nodes.len()),
            outputs: Default::default(),
            gradients: Default::default(),
            statistic_updates: vec![],
            mode: self.mode,
            forward_names: self.forward_names.clone(),
            stored_names: self.stored_names.clone(),
            frozen: self.frozen.clone(),
            autocast: self.autocast.as_ref().map(Autocast::emptied),
        }
    }

    /// Adds a node of another graph; gives its outputs there, each with what it is here.
    fn push_moved(
        &mut self,
        from: &Graph,
        index: usize,
        new_of: &HashMap<Value, Value>,
    ) -> Vec<(Value, Value)> {
        let mut node = from.nodes[index].clone();
        node.inputs.iter_mut().for_each(|input| *input = new_of[input]);
        let outputs = node.outputs.len();
        let new = self.push(node).node;
        (0..outputs).map(|output| (Value { node: index, output }, Value { node: new, output })).collect()
    }

    /// Takes over the outputs, gradients, statistics and casts of a graph whose nodes have been moved here.
    fn take_over(&mut self, from: &Graph, new_of: &HashMap<Value, Value>) {
        self.autocast = from.autocast.as_ref().map(|autocast| autocast.moved(new_of));
        let moved = |value: &Value| new_of[value];
        self.outputs = from.outputs.iter().map(|(name, value)| (name.clone(), moved(value))).collect();
        self.gradients = from.gradients.iter().map(|(p, g)| (moved(p), moved(g))).collect();
        let updates = from.statistic_updates.iter();
        self.statistic_updates = updates
            .map(|update| StatisticUpdate {
                running: moved(&update.running),
                batch: moved(&update.batch),
                ..*update
            })
            .collect();
    }

    /// The operator of a node, if it is one of this type.
    pub fn op_at<O: Op>(&self, node: usize) -> Option<&O> {
        match &self.nodes[node].kind {
            NodeKind::Op(op) => (op.as_ref() as &dyn std::any::Any).downcast_ref(),
            _ => None,
        }
    }

    /// The node that reads a value, if it is the only reader, reads it once, and the value is not kept after a run.
    pub fn only_reader(&self, value: Value) -> Option<usize> {
        let mut readers = self.readers(value);
        let reader = readers.next()?;
        (readers.next().is_none() && !self.is_kept(value)).then_some(reader)
    }

    /// Whether a node reads a value, or it is kept after a run.
    pub fn is_read(&self, value: Value) -> bool {
        self.is_kept(value) || self.readers(value).next().is_some()
    }

    /// The nodes that read a value, as often as they do.
    fn readers(&self, value: Value) -> impl Iterator<Item = usize> {
        (value.node..self.nodes.len()).flat_map(move |index| {
            let reads = self.nodes[index].inputs.iter().filter(move |input| **input == value);
            reads.map(move |_| index)
        })
    }

    /// Whether a value is read after a run: as an output, a gradient or a statistic.
    pub fn is_kept(&self, value: Value) -> bool {
        let mut kept = self.outputs.values().chain(self.gradients.values());
        kept.any(|other| *other == value) || self.statistic_updates.iter().any(|update| update.batch == value)
    }
}
