use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::ops::{Layer, add::Add, concat::Concat, mul::Mul};

/// Layers that read what any of those before them made: the container `graph`. A layer's scope is its name.
#[derive(Debug, Default)]
pub struct Wired {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    name: String,
    layer: Wiring,
    inputs: Vec<Wire>,
}

/// What a layer of [`Wired`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// The container's input.
    Input,
    /// What the layer of this number made.
    Node(usize),
}

/// A layer of [`Wired`].
#[derive(Debug)]
pub enum Wiring {
    /// A layer of one input.
    Layer(Box<dyn Layer>),
    /// Several inputs become one.
    Join(Join),
}

/// How several inputs become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// `a + b`
    Add,
    /// `a b`, as squeeze and excitation has it.
    Mul,
    /// Side by side along the channels.
    Concat,
}

impl Join {
    /// The join of a name in model files.
    pub fn of(name: &str) -> Option<Join> {
        [("add", Join::Add), ("mul", Join::Mul), ("concat", Join::Concat)]
            .into_iter()
            .find_map(|(known, join)| (known == name).then_some(join))
    }

    /// Whether it takes so many inputs.
    pub fn takes(self, inputs: usize) -> bool {
        if self == Join::Concat { inputs > 0 } else { inputs == 2 }
    }

    /// Adds the operator to a graph, in its current scope.
    pub fn apply(self, graph: &mut Graph, inputs: &[Value]) -> Result<Value> {
        match self {
            Join::Add => graph.apply1(Add::default(), inputs),
            Join::Mul => graph.apply1(Mul::default(), inputs),
            Join::Concat => graph.apply1(Concat, inputs),
        }
    }
}

impl Wired {
    /// The same with one more layer, which reads what is there already.
    pub fn push(mut self, name: impl Into<String>, layer: Wiring, inputs: Vec<Wire>) -> Wired {
        self.nodes.push(Node { name: name.into(), layer, inputs });
        self
    }
}

impl Layer for Wired {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let mut made: Vec<Value> = Vec::with_capacity(self.nodes.len());
        for Node { name, layer, inputs } in &self.nodes {
            let read = |wire: &Wire| match wire {
                Wire::Input => input,
                Wire::Node(number) => made[*number],
            };
            let inputs: Vec<Value> = inputs.iter().map(read).collect();
            let value = graph.scope(name, |graph| match layer {
                Wiring::Layer(layer) => layer.build(graph, inputs[0]),
                Wiring::Join(join) => join.apply(graph, &inputs),
            })?;
            made.push(value);
        }
        Ok(made.last().copied().unwrap_or(input))
    }
}
