//! The graph: operators with static shapes, parameters, running statistics, and the reverse walk that adds gradients.
//!
//! This module owns the plain data that everybody speaks ([`Node`], [`TensorDesc`], [`Dispatch`], [`Capabilities`]) and
//! the trait [`Op`]; it never knows a concrete operator, an executor or a device.

mod autocast;
mod backward;
mod capabilities;
mod cooperative;
mod dispatch;
mod eval;
mod init;
mod lanes;
mod op;
mod rewrite;
mod tuning;
mod update;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

use autocast::Autocast;
pub use autocast::CastOp;
pub use backward::{Backward, reverse_walk};
pub use capabilities::{Capabilities, Tier};
pub use cooperative::Cooperative;
pub use dispatch::{Access, Binding, Dispatch, DispatchBuilder, Lower, Lowered, Part, Scalar, Slot, Variant};
pub use eval::{Context, Gemm, Host, PANEL, Real, View, ViewMut};
pub use init::Init;
pub use lanes::{Lanes, Simd};
pub use op::Op;
pub use rewrite::{Again, Replacement};
pub use tuning::{Choice, Configuration, Tuning, TuningKey};
pub use update::{Clip, GradientRule, LossScale, Parameter, ParameterGroup, Pass, Step, Update, UpdatePage};

use crate::error::{Error, Result};
use crate::tensor::{DType, Layout, Shape};

/// Shape and element type of a tensor; its layout follows from the shape ([`crate::tensor::Layout::of`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorDesc {
    /// Logical shape.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

impl TensorDesc {
    /// A tensor of 32-bit floats.
    pub fn f32(shape: impl Into<Shape>) -> TensorDesc {
        TensorDesc { shape: shape.into(), dtype: DType::F32 }
    }

    /// A tensor of class indices.
    pub fn i32(shape: impl Into<Shape>) -> TensorDesc {
        TensorDesc { shape: shape.into(), dtype: DType::I32 }
    }

    /// A tensor of bytes.
    pub fn u8(shape: impl Into<Shape>) -> TensorDesc {
        TensorDesc { shape: shape.into(), dtype: DType::U8 }
    }

    /// A tensor of `dtype`, but f32 in place of f16 where the shape does not allow that.
    pub fn float(shape: impl Into<Shape>, dtype: DType) -> TensorDesc {
        let desc = TensorDesc { shape: shape.into(), dtype };
        if dtype == DType::F16 && !desc.allows_half() { desc.with_dtype(DType::F32) } else { desc }
    }

    /// Whether the tensor may be f16: kernels read and write that four channels at a time.
    pub fn allows_half(&self) -> bool {
        self.dtype.is_real() && Layout::innermost(&self.shape).is_multiple_of(4)
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.numel()
    }

    /// Another element type for the same shape.
    pub fn with_dtype(&self, dtype: DType) -> TensorDesc {
        TensorDesc { shape: self.shape.clone(), dtype }
    }

    /// Bytes in memory, in whole 4-byte words.
    pub fn bytes(&self) -> usize {
        (self.numel() * self.dtype.size()).next_multiple_of(4)
    }
}

/// One output of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    /// Index of the node in the graph.
    pub node: usize,
    /// Which of its outputs.
    pub output: usize,
}

/// Whether a graph is for training (batch statistics, dropout) or for evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, dropout.
    Train,
    /// Running statistics, no dropout.
    Eval,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// Data that the caller supplies for each run.
    Input,
    /// Data that the caller supplies once and that stays with the session, such as a data set. Graphs of a program
    /// that name it alike share it.
    Resident,
    /// A trained tensor, kept in pages between runs.
    Parameter(Init),
    /// A running statistic, kept in pages between runs; starts at the given value.
    Statistic(f32),
    /// The gradient of the parameter of this name, as it lies in its page when an update begins.
    Gradient,
    /// An operator applied to the node's inputs.
    Op(Arc<dyn Op>),
}

/// One node of a graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// The path of the layer that made it, such as `3.body.0`; nodes of a layer's backward pass share its name.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// What it reads.
    pub inputs: Vec<Value>,
    /// What it makes.
    pub outputs: Vec<TensorDesc>,
}

impl Node {
    /// `conv1 conv2d.forward`: the label of this node's dispatches and of profiles.
    pub fn label(&self) -> String {
        match &self.kind {
            NodeKind::Op(op) => format!("{} {}.{}", self.name, op.name(), op.pass()),
            NodeKind::Input => format!("{} input", self.name),
            NodeKind::Resident => format!("{} resident", self.name),
            NodeKind::Parameter(_) => format!("{} parameter", self.name),
            NodeKind::Statistic(_) => format!("{} statistic", self.name),
            NodeKind::Gradient => format!("{} gradient", self.name),
        }
    }
}

/// `running = running + momentum * (batch - running)`, done after a step that is not halted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatisticUpdate {
    /// The running statistic.
    pub running: Value,
    /// This step's statistic.
    pub batch: Value,
    /// Weight of this step's statistic, in 0..1.
    pub momentum: f32,
}

/// Operators with static shapes, in an order in which they can be evaluated.
#[derive(Clone, Debug)]
pub struct Graph {
    mode: Mode,
    nodes: Vec<Node>,
    scope: Vec<String>,
    forward_names: HashSet<String>,
    stored_names: HashSet<String>,
    outputs: IndexMap<String, Value>,
    gradients: IndexMap<Value, Value>,
    statistic_updates: Vec<StatisticUpdate>,
    frozen: HashSet<String>,
    autocast: Option<Autocast>,
}

impl Graph {
    /// An empty graph.
    pub fn new(mode: Mode) -> Graph {
        Graph {
            mode,
            nodes: Vec::new(),
            scope: Vec::new(),
            forward_names: HashSet::new(),
            stored_names: HashSet::new(),
            outputs: IndexMap::new(),
            gradients: IndexMap::new(),
            statistic_updates: Vec::new(),
            frozen: HashSet::new(),
            autocast: None,
        }
    }

    /// Training or evaluation.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The nodes, in an order in which they can be evaluated.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Shape and type of a value.
    pub fn desc(&self, value: Value) -> &TensorDesc {
        &self.nodes[value.node].outputs[value.output]
    }

    /// Shape of a value.
    pub fn shape(&self, value: Value) -> &Shape {
        &self.desc(value).shape
    }

    /// Runs `build` with `name` appended to the path that names nodes and parameters; an empty name leaves the path.
    pub fn scope<R>(&mut self, name: impl fmt::Display, build: impl FnOnce(&mut Graph) -> R) -> R {
        let name = name.to_string();
        if name.is_empty() {
            return build(self);
        }
        self.scope.push(name);
        let result = build(self);
        self.scope.pop();
        result
    }

    /// The path of the current scope, such as `3.body.0`.
    pub fn scope_name(&self) -> String {
        self.path("")
    }

    /// Adds an input, which the caller fills by this name for each run.
    pub fn input(&mut self, name: &str, desc: TensorDesc) -> Value {
        self.push(Node { name: name.to_string(), kind: NodeKind::Input, inputs: vec![], outputs: vec![desc] })
    }

    /// Adds data that the caller supplies once by this name, and that stays with the session.
    pub fn resident(&mut self, name: &str, desc: TensorDesc) -> Value {
        self.push(Node {
            name: name.to_string(),
            kind: NodeKind::Resident,
            inputs: vec![],
            outputs: vec![desc],
        })
    }

    /// Adds a parameter named after the scope: `weight` in scope `3.body.0` is `3.body.0.weight`.
    pub fn parameter(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Value> {
        self.stored(name, shape.into(), NodeKind::Parameter(init))
    }

    /// Adds the gradient of a parameter as it lies in its page, for graphs that [rework](GradientRule) gradients. The shape
    /// may be another of as many elements: it is seen in the order in which it lies in memory.
    pub fn gradient_of(&mut self, parameter: Value, shape: impl Into<Shape>) -> Value {
        let shape = shape.into();
        debug_assert_eq!(
            shape.numel(),
            self.shape(parameter).numel(),
            "a gradient has its parameter's elements"
        );
        let name = self.nodes[parameter.node].name.clone();
        self.push(Node {
            name,
            kind: NodeKind::Gradient,
            inputs: vec![],
            outputs: vec![TensorDesc::f32(shape)],
        })
    }

    /// Adds a running statistic named after the scope, with the value that all its elements start from.
    pub fn statistic(&mut self, name: &str, shape: impl Into<Shape>, start: f32) -> Result<Value> {
        self.stored(name, shape.into(), NodeKind::Statistic(start))
    }

    fn stored(&mut self, name: &str, shape: Shape, kind: NodeKind) -> Result<Value> {
        let name = self.path(name);
        if !self.stored_names.insert(name.clone()) {
            return Err(Error::Model(format!(
                "has two tensors named \"{name}\"; give the layers different scopes"
            )));
        }
        if too_large(&shape) {
            return Err(Error::Model(format!("has a tensor \"{name}\" {shape} of 2^30 elements or more")));
        }
        Ok(self.push(Node { name, kind, inputs: vec![], outputs: vec![TensorDesc::f32(shape)] }))
    }

    /// Applies an operator in the current scope: adds a node for it, and gives its outputs. Nothing is computed before a
    /// [`crate::plan::Program`] of the graph is run.
    ///
    /// # Errors
    /// If the operator does not take inputs of these shapes and types; names the node, the operator and the shapes.
    pub fn apply(&mut self, op: impl Op, inputs: &[Value]) -> Result<Vec<Value>> {
        let mut name = if self.scope.is_empty() { op.name().to_string() } else { self.path("") };
        let mut copy = 1;
        while !self.forward_names.insert(name.clone()) {
            copy += 1;
            name = format!("{}:{}{}", self.path("").trim_end_matches('.'), op.name(), copy);
        }
        self.apply_named(name, Arc::new(op), inputs)
    }

    /// [`Graph::apply`] for an operator with one output.
    pub fn apply1(&mut self, op: impl Op, inputs: &[Value]) -> Result<Value> {
        Ok(self.apply(op, inputs)?[0])
    }

    /// Applies an operator under a given node name; used for gradients, which carry their layer's name.
    pub fn apply_named(&mut self, name: String, op: Arc<dyn Op>, inputs: &[Value]) -> Result<Vec<Value>> {
        let inputs = self.cast_inputs(op.as_ref(), inputs)?;
        let descs: Vec<TensorDesc> = inputs.iter().map(|value| self.desc(*value).clone()).collect();
        let fail = |message| Error::Shape { op: op.name(), node: name.clone(), message };
        let half = |(i, desc): (usize, &TensorDesc)| desc.dtype == DType::F16 && !op.takes_half(i, &descs);
        if let Some(i) = descs.iter().enumerate().position(half) {
            return Err(fail(format!("takes input {i} as f32, it is f16; put a cast before it")));
        }
        let outputs = op.infer(&descs).map_err(fail)?;
        let outputs = self.cast_outputs(op.as_ref(), outputs);
        if let Some(large) = outputs.iter().find(|desc| too_large(&desc.shape)) {
            return Err(fail(format!(
                "the output {} has 2^30 elements or more; use a smaller batch",
                large.shape
            )));
        }
        if let Some(empty) = outputs.iter().find(|desc| desc.numel() == 0) {
            let from: Vec<String> = descs.iter().map(|desc| desc.shape.to_string()).collect();
            return Err(fail(format!(
                "the output would be empty ({} from {})",
                empty.shape,
                from.join(", ")
            )));
        }
        let count = outputs.len();
        let node = self.push(Node { name, kind: NodeKind::Op(op), inputs, outputs }).node;
        Ok((0..count).map(|output| Value { node, output }).collect())
    }

    /// Says which parameters are not trained, before they are added. They get no gradient.
    pub fn freeze(&mut self, parameters: HashSet<String>) {
        self.frozen = parameters;
    }

    /// Whether a parameter, by its whole name, is not trained.
    pub fn is_frozen(&self, parameter: &str) -> bool {
        self.frozen.contains(parameter)
    }

    /// Whether the scope's parameter of this name is not trained.
    pub fn freezes(&self, name: &str) -> bool {
        self.is_frozen(&self.path(name))
    }

    /// Registers the update of a running statistic after each step.
    pub fn update_statistic(&mut self, running: Value, batch: Value, momentum: f32) {
        self.statistic_updates.push(StatisticUpdate { running, batch, momentum });
    }

    /// The running statistics' updates.
    pub fn statistic_updates(&self) -> &[StatisticUpdate] {
        &self.statistic_updates
    }

    /// Keeps a value readable after a run, under a name.
    pub fn output(&mut self, name: &str, value: Value) {
        self.outputs.insert(name.to_string(), value);
    }

    /// The values that stay readable after a run.
    pub fn outputs(&self) -> &IndexMap<String, Value> {
        &self.outputs
    }

    /// Records the gradient of a parameter, for the optimizer.
    pub fn set_gradient(&mut self, parameter: Value, gradient: Value) {
        self.gradients.insert(parameter, gradient);
    }

    /// Parameter -> gradient, in the order of the parameters.
    pub fn gradients(&self) -> &IndexMap<Value, Value> {
        &self.gradients
    }

    /// The parameters, in order.
    pub fn parameters(&self) -> Vec<Value> {
        self.stored_values(|kind| matches!(kind, NodeKind::Parameter(_)))
    }

    /// The running statistics, in order.
    pub fn statistics(&self) -> Vec<Value> {
        self.stored_values(|kind| matches!(kind, NodeKind::Statistic(_)))
    }

    fn stored_values(&self, wanted: impl Fn(&NodeKind) -> bool) -> Vec<Value> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(_, node)| wanted(&node.kind)).map(|(node, _)| Value { node, output: 0 }).collect()
    }

    /// For each node, whether something that outlives a run (output, gradient, running statistic) needs it.
    pub fn needed(&self) -> Vec<bool> {
        let roots = self.outputs.values().chain(self.gradients.values());
        self.needed_by(roots.chain(self.statistic_updates.iter().map(|update| &update.batch)))
    }

    /// For each node, whether one of these values needs it.
    pub fn needed_by<'v>(&self, roots: impl IntoIterator<Item = &'v Value>) -> Vec<bool> {
        let mut needed = vec![false; self.nodes.len()];
        roots.into_iter().for_each(|root| needed[root.node] = true);
        for index in (0..self.nodes.len()).rev() {
            if needed[index] {
                for input in &self.nodes[index].inputs {
                    needed[input.node] = true;
                }
            }
        }
        needed
    }

    fn path(&self, name: &str) -> String {
        let mut path = self.scope.join(".");
        if !name.is_empty() {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
        }
        path
    }

    fn push(&mut self, node: Node) -> Value {
        self.nodes.push(node);
        Value { node: self.nodes.len() - 1, output: 0 }
    }
}

/// Kernels count elements, and drivers bytes, in 32 bits.
fn too_large(shape: &Shape) -> bool {
    shape.checked_numel().is_none_or(|numel| numel > u32::MAX as usize / 4)
}
