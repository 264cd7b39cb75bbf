use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::ops::{self, Layer, add::Add, mul::Mul};

/// Layers one after the other, named by their position as in `torch.nn.Sequential`, or by names of their own as in
/// `Sequential(OrderedDict(...))`; without any, the identity.
#[derive(Debug, Default)]
pub struct Sequential {
    layers: Vec<(String, Box<dyn Layer>)>,
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
    pub fn push_boxed(self, layer: Box<dyn Layer>) -> Sequential {
        let position = self.layers.len().to_string();
        self.push_named(position, layer)
    }

    /// The same with one more layer, whose tensors' names begin with `name`; with the empty name they begin with
    /// nothing, as if the layer's own layers stood in this list.
    pub fn push_named(mut self, name: impl Into<String>, layer: Box<dyn Layer>) -> Sequential {
        self.layers.push((name.into(), layer));
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
        let mut layers = self.layers.iter();
        layers.try_fold(input, |value, (name, layer)| graph.scope(name, |graph| layer.build(graph, value)))
    }
}

/// `body(x) + shortcut(x)`, in the scopes `body` and `shortcut`; without a shortcut, `body(x) + x`.
#[derive(Debug)]
pub struct Residual {
    body: Sequential,
    shortcut: Sequential,
    names: [String; 2],
}

impl Residual {
    /// `body(x) + x`
    pub fn new(body: Sequential) -> Residual {
        Residual { body, shortcut: Sequential::new(), names: ["body", "shortcut"].map(String::from) }
    }

    /// The same with layers in the shortcut.
    pub fn shortcut(self, shortcut: Sequential) -> Residual {
        Residual { shortcut, ..self }
    }

    /// The same with other scopes for body and shortcut; an empty one adds nothing to the names.
    pub fn names(self, names: [String; 2]) -> Residual {
        Residual { names, ..self }
    }
}

impl Layer for Residual {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let [body, shortcut] = &self.names;
        let body = graph.scope(body, |graph| self.body.build(graph, input))?;
        let shortcut = graph.scope(shortcut, |graph| self.shortcut.build(graph, input))?;
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
    branches: Vec<(String, Sequential)>,
}

impl Concat {
    /// No branches.
    pub fn new() -> Concat {
        Concat::default()
    }

    /// The same with one more branch.
    pub fn branch(self, branch: Sequential) -> Concat {
        let name = format!("branches.{}", self.branches.len());
        self.branch_named(name, branch)
    }

    /// The same with one more branch, in a scope of its own; an empty one adds nothing to the names.
    pub fn branch_named(mut self, name: impl Into<String>, branch: Sequential) -> Concat {
        self.branches.push((name.into(), branch));
        self
    }
}

impl Layer for Concat {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let branches = self.branches.iter();
        let branches = branches.map(|(name, branch)| graph.scope(name, |graph| branch.build(graph, input)));
        let branches: Vec<Value> = branches.collect::<Result<_>>()?;
        graph.apply1(ops::concat::Concat, &branches)
    }
}

/// `x by(x)`, where `by` makes a factor for each channel of each image, `[N, C, 1, 1]`: squeeze and excitation. Its layers
/// are in no scope of their own.
#[derive(Debug)]
pub struct Scale {
    by: Sequential,
}

impl Scale {
    /// `x by(x)`
    pub fn new(by: Sequential) -> Scale {
        Scale { by }
    }
}

impl Layer for Scale {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let factors = self.by.build(graph, input)?;
        let (ours, theirs) = (graph.shape(input), graph.shape(factors));
        let fits =
            ours.len() == theirs.len() && ours.iter().zip(theirs.iter()).all(|(x, y)| x == y || *y == 1);
        if !fits {
            let message = format!("{theirs} cannot scale {ours}; the layers in by end in [N, C, 1, 1]");
            return Err(Error::Shape { op: "scale", node: graph.scope_name(), message });
        }
        graph.apply1(Mul::default(), &[input, factors])
    }
}
