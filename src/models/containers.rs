use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::ops::{self, Layer, add::Add};

/// Layers one after the other, named by their position as in `torch.nn.Sequential`; without any, the identity.
#[derive(Debug, Default)]
pub struct Sequential {
    layers: Vec<Box<dyn Layer>>,
}

impl Sequential {
    /// No layers.
    pub fn new() -> Sequential {
        Sequential::default()
    }

    /// The same with one more layer.
    pub fn push(self, layer: impl Layer + 'static) -> Sequential {
        self.push_boxed(Box::new(layer))
    }

    /// [`Sequential::push`] for a layer whose type is not known.
    pub fn push_boxed(mut self, layer: Box<dyn Layer>) -> Sequential {
        self.layers.push(layer);
        self
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Layer for Sequential {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let mut layers = self.layers.iter().enumerate();
        layers.try_fold(input, |value, (index, layer)| graph.scope(index, |graph| layer.build(graph, value)))
    }
}

/// `body(x) + shortcut(x)`, in the scopes `body` and `shortcut`; without a shortcut, `body(x) + x`.
#[derive(Debug, Default)]
pub struct Residual {
    body: Sequential,
    shortcut: Sequential,
}

impl Residual {
    /// `body(x) + x`
    pub fn new(body: Sequential) -> Residual {
        Residual { body, shortcut: Sequential::new() }
    }

    /// The same with layers in the shortcut.
    pub fn shortcut(self, shortcut: Sequential) -> Residual {
        Residual { shortcut, ..self }
    }
}

impl Layer for Residual {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let body = graph.scope("body", |graph| self.body.build(graph, input))?;
        let shortcut = graph.scope("shortcut", |graph| self.shortcut.build(graph, input))?;
        let (ours, theirs) = (graph.shape(body), graph.shape(shortcut));
        // Stretching one branch to the other, as `add` could, is a slip more often than a wish.
        if ours != theirs {
            let identity = if self.shortcut.is_empty() { ", which is the identity," } else { "" };
            let message = format!(
                "the body makes {ours} and the shortcut{identity} {theirs}; only equal shapes are added"
            );
            return Err(Error::Shape { op: "residual", node: graph.scope_name(), message });
        }
        graph.apply1(Add::default(), &[body, shortcut])
    }
}

/// Branches of the same input with their channels put together, in the scopes `branches.0`, `branches.1`, ...; a branch
/// without layers is the identity.
#[derive(Debug, Default)]
pub struct Concat {
    branches: Vec<Sequential>,
}

impl Concat {
    /// No branches.
    pub fn new() -> Concat {
        Concat::default()
    }

    /// The same with one more branch.
    pub fn branch(mut self, branch: Sequential) -> Concat {
        self.branches.push(branch);
        self
    }
}

impl Layer for Concat {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let branches: Result<Vec<Value>> = graph.scope("branches", |graph| {
            let branches = self.branches.iter().enumerate();
            branches.map(|(index, branch)| graph.scope(index, |graph| branch.build(graph, input))).collect()
        });
        graph.apply1(ops::concat::Concat, &branches?)
    }
}
