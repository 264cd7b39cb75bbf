//! What an operator of a graph is in ONNX and in PyTorch.

use crate::graph::{Graph, NodeKind, Op, Value};
use crate::tensor::Shape;

/// A node of an inference graph, as the table of operators sees it.
pub(super) struct Site<'a> {
    pub(super) graph: &'a Graph,
    pub(super) node: usize,
}

impl Site<'_> {
    /// The operator, if it is one of this type.
    pub(super) fn op<O: Op>(&self) -> Option<&O> {
        self.graph.op_at(self.node)
    }

    fn inputs(&self) -> &[Value] {
        &self.graph.nodes()[self.node].inputs
    }

    /// Number of inputs.
    pub(super) fn len(&self) -> usize {
        self.inputs().len()
    }

    /// Shape of input `i`.
    pub(super) fn shape(&self, i: usize) -> &Shape {
        self.graph.shape(self.inputs()[i])
    }

    /// Shape of the first output.
    pub(super) fn output(&self) -> &Shape {
        self.graph.shape(Value { node: self.node, output: 0 })
    }

    /// The second dimension of input 0.
    pub(super) fn channels(&self) -> usize {
        self.shape(0).get(1).copied().unwrap_or(1)
    }

    /// Whether input `i` is a parameter.
    pub(super) fn is_parameter(&self, i: usize) -> bool {
        let node = self.inputs().get(i).map(|value| &self.graph.nodes()[value.node]);
        node.is_some_and(|node| matches!(node.kind, NodeKind::Parameter(_)))
    }

    /// All inputs in order.
    pub(super) fn all(&self) -> Vec<Source> {
        (0..self.len()).map(Source::Input).collect()
    }
}

/// An operator elsewhere.
pub(super) struct Form {
    /// ONNX nodes in order; the last one's output is the operator's.
    pub(super) onnx: Vec<Step>,
    /// PyTorch's expression: `{0}`, `{1}` stand for inputs and `{m}` for the module.
    pub(super) torch: String,
    /// The `torch.nn` module that holds the parameters.
    pub(super) module: Option<String>,
}

impl Form {
    pub(super) fn new(onnx: Vec<Step>, torch: impl Into<String>) -> Form {
        Form { onnx, torch: torch.into(), module: None }
    }

    /// The same with a module for the parameters, applied to input 0.
    pub(super) fn module(onnx: Vec<Step>, module: String) -> Form {
        Form { onnx, torch: "{m}({0})".to_string(), module: Some(module) }
    }

    /// The same for a module that wants channels last.
    pub(super) fn over_channels(self) -> Form {
        Form { torch: "{m}({0}.movedim(1, -1)).movedim(-1, 1)".to_string(), ..self }
    }
}

/// One ONNX node.
pub(super) struct Step {
    pub(super) op: &'static str,
    pub(super) inputs: Vec<Source>,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
}

impl Step {
    pub(super) fn new(op: &'static str, inputs: impl Into<Vec<Source>>) -> Step {
        Step { op, inputs: inputs.into(), attributes: vec![] }
    }

    /// The same with one more attribute.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Attribute>) -> Step {
        self.attributes.push((name, value.into()));
        self
    }
}

/// What an ONNX node reads.
#[derive(Clone)]
pub(super) enum Source {
    /// The operator's input.
    Input(usize),
    /// What an earlier step of the operator made.
    Step(usize),
    /// Numbers of this shape.
    Floats(Vec<usize>, Vec<f32>),
    /// A list of numbers, such as a shape.
    Ints(Vec<i64>),
    /// A tensor by its name.
    Named(String),
}

impl Source {
    /// One number.
    pub(super) fn scalar(value: f32) -> Source {
        Source::Floats(vec![], vec![value])
    }

    /// As many equal numbers.
    pub(super) fn filled(shape: &[usize], value: f32) -> Source {
        Source::Floats(shape.to_vec(), vec![value; shape.iter().product()])
    }
}

/// An ONNX attribute.
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Text(&'static str),
}

impl From<i64> for Attribute {
    fn from(value: i64) -> Attribute {
        Attribute::Int(value)
    }
}

impl From<f32> for Attribute {
    fn from(value: f32) -> Attribute {
        Attribute::Float(value)
    }
}

impl From<&'static str> for Attribute {
    fn from(text: &'static str) -> Attribute {
        Attribute::Text(text)
    }
}

impl<const N: usize> From<[usize; N]> for Attribute {
    fn from(values: [usize; N]) -> Attribute {
        Attribute::Ints(values.map(|value| value as i64).to_vec())
    }
}

/// A number as Python writes it: at most the digits that tell it from its neighbours.
pub(super) fn number(value: f32) -> String {
    if value.is_finite() { format!("{value:?}") } else { format!("float(\"{value}\")") }
}

/// `(3, 5)`
pub(super) fn tuple(values: &[usize]) -> String {
    let values: Vec<String> = values.iter().map(usize::to_string).collect();
    if values.len() == 1 { format!("({},)", values[0]) } else { format!("({})", values.join(", ")) }
}

/// `True` or `False`
pub(super) fn boolean(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}
