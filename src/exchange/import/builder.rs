//! The model file in the making.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use toml::Table;

use super::super::proto::NodeProto;
use super::super::tensors::{Array, Content};
use super::node::Node;
use super::text::Entry;
use crate::graph::{Graph, Mode, TensorDesc, Value};
use crate::models::{Join, layer};
use crate::tensor::{HostTensor, Shape};
use crate::train::weights::Tensors;

/// What the container's input is called.
pub(super) const INPUT: &str = "input";

/// How many times the elements of a file may be computed of its constants.
const GROWTH: usize = 16;

/// What a layer made, and how the file sees it: the same numbers in other sizes, or with channels last.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wire {
    /// The entry's name.
    pub(super) id: String,
    pub(super) value: Value,
    /// Whether the file sees the numbers in the order of images with channels last.
    pub(super) last: bool,
    /// The sizes that it sees.
    pub(super) seen: Vec<usize>,
}

/// Sizes of images with channels second, as they are with channels last.
fn channels_last(shape: &[usize]) -> Option<Vec<usize>> {
    if let [n, c, h, w] = *shape { Some(vec![n, h, w, c]) } else { None }
}

/// What a name of the file stands for.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// What depends on the images.
    Wire(Wire),
    /// Part of an expression that is one layer here.
    Pending(Pending, Wire),
    /// Numbers.
    Floats(Rc<HostTensor>),
    /// Numbers that shapes are made of.
    Ints(Array<i64>),
    /// What is not read, and why.
    Unread(String),
}

/// Parts of `gelu(x) = x (1 + erf(x / sqrt 2)) / 2`, and a factor, which may become one; padding that goes into a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pending {
    /// x times a number
    Scaled(f32),
    /// erf(x / sqrt 2)
    Erf,
    /// 1 + erf(x / sqrt 2)
    OnePlusErf,
    /// half of that
    HalfOnePlusErf,
    /// x (1 + erf(x / sqrt 2))
    TwiceGelu,
    /// Pixels around images, as many above, left, below and right; they are zero, or never the largest.
    Padded([usize; 4], Around),
}

/// Pixels around images, as many above, left, below and right, and what they are.
pub(super) type Margin = ([usize; 4], Around);

/// What images are padded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Around {
    Zero,
    Lowest,
}

impl From<Wire> for Held {
    fn from(wire: Wire) -> Held {
        Held::Wire(wire)
    }
}

impl From<Content> for Held {
    fn from(content: Content) -> Held {
        match content {
            Content::Floats(tensor) => Held::Floats(Rc::new(tensor)),
            Content::Ints(array) => Held::Ints(array),
            Content::Unread(reason) => Held::Unread(reason),
        }
    }
}

/// A model file in the making, and its graph, which knows the shapes.
pub(super) struct Builder<'a> {
    nodes: &'a [NodeProto],
    outputs: Vec<String>,
    graph: Graph,
    pub(super) entries: Vec<Entry>,
    ids: HashSet<String>,
    held: HashMap<String, Held>,
    /// Rows that were made of what an entry made.
    rows: HashMap<String, Wire>,
    /// How many elements may still be computed of constants.
    budget: usize,
    /// Nodes that an earlier one has taken in.
    done: HashSet<usize>,
    tensors: Tensors,
    notes: Vec<String>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        nodes: &'a [NodeProto],
        outputs: &[&str],
        inputs: &[(String, Vec<usize>)],
    ) -> Builder<'a> {
        let mut builder = Builder {
            nodes,
            outputs: outputs.iter().map(|name| name.to_string()).collect(),
            graph: Graph::new(Mode::Eval),
            entries: vec![],
            ids: HashSet::from([INPUT.to_string()]),
            held: HashMap::new(),
            rows: HashMap::new(),
            budget: 1 << 22,
            done: HashSet::new(),
            tensors: Tensors::new(),
            notes: vec![],
        };
        for (number, (name, sizes)) in inputs.iter().enumerate() {
            let id = if number == 0 { INPUT.to_string() } else { format!("{INPUT}{number}") };
            let value = builder.graph.input(&id, TensorDesc::f32(sizes.clone()));
            let wire = Wire { id, value, last: false, seen: sizes.clone() };
            builder.hold(name, Held::Wire(wire));
        }
        builder
    }

    pub(super) fn hold_constant(&mut self, name: String, content: Content) {
        let elements = match &content {
            Content::Floats(tensor) => tensor.data.len(),
            Content::Ints(array) => array.values.len(),
            Content::Unread(_) => 0,
        };
        self.budget = self.budget.saturating_add(GROWTH * elements);
        self.held.insert(name, content.into());
    }

    pub(super) fn hold(&mut self, name: &str, held: Held) {
        self.held.insert(name.to_string(), held);
    }

    pub(super) fn held(&self, name: &str) -> Option<&Held> {
        self.held.get(name)
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Whether a name is an output of the file.
    pub(super) fn is_output(&self, name: &str) -> bool {
        self.outputs.iter().any(|output| output == name)
    }

    pub(super) fn is_done(&self, number: usize) -> bool {
        self.done.contains(&number)
    }

    /// Marks a node as taken in.
    pub(super) fn take_in(&mut self, number: usize) {
        self.done.insert(number);
    }

    /// Takes elements from what may be computed of constants, or says that it is too much.
    pub(super) fn spend(&mut self, elements: usize) -> Result<(), String> {
        match self.budget.checked_sub(elements) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err("computes more of constants than fits to the file's size".to_string()),
        }
    }

    /// Whether a node reads a name.
    pub(super) fn is_read(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| node.input.iter().any(|input| input == name))
    }

    /// The only node that reads a name, if no output is it.
    pub(super) fn only_reader(&self, name: &str) -> Option<(usize, &'a NodeProto)> {
        let mut readers =
            self.nodes.iter().enumerate().filter(|(_, node)| node.input.iter().any(|input| input == name));
        let reader = readers.next()?;
        (readers.next().is_none() && !self.is_output(name)).then_some(reader)
    }

    /// The shape of a wire as wgrad sees it, channels second.
    pub(super) fn shape(&self, wire: &Wire) -> &Shape {
        self.graph.shape(wire.value)
    }

    /// Input `i` of a node.
    pub(super) fn input(&self, node: &Node<'_>, i: usize) -> Result<Held, String> {
        let Some(name) = node.input(i) else { return node.refuse(format!("lacks input {i}")) };
        match self.held(name) {
            Some(Held::Unread(reason)) => node.refuse(format!("reads {name:?}, which {reason}")),
            Some(held) => Ok(held.clone()),
            None => node.refuse(format!(
                "reads {name:?}, which nothing before it makes; nodes are to be in order, without cycles"
            )),
        }
    }

    /// Input `i` as layers take it: images, or a row for each of them.
    pub(super) fn wire(&mut self, node: &Node<'_>, i: usize) -> Result<Wire, String> {
        let wire = self.view(node, i)?;
        self.settled(node, wire)
    }

    /// What depends on the images as layers take it.
    pub(super) fn settled(&mut self, node: &Node<'_>, wire: Wire) -> Result<Wire, String> {
        let shape = self.shape(&wire).to_vec();
        let last = channels_last(&shape);
        // One pixel, or one channel, has the same order with channels last.
        let same_order = matches!(shape[..], [_, _, 1, 1] | [_, 1, _, _]);
        if wire.seen == shape && (!wire.last || same_order) {
            return Ok(Wire { last: false, ..wire });
        }
        if Some(&wire.seen) == last.as_ref() && (wire.last || same_order) {
            return Ok(Wire { last: true, ..wire });
        }
        let rows = shape.split_first().map(|(images, rest)| vec![*images, rest.iter().product()]);
        if Some(&wire.seen) != rows.as_ref() || (wire.last && !same_order) {
            return node.refuse(format!(
                "reads {:?} made of {}; only one row for each image is known",
                wire.seen,
                self.shape(&wire)
            ));
        }
        if let Some(rows) = self.rows.get(&wire.id) {
            return Ok(rows.clone());
        }
        let rows = self.layer(node, "flatten", Table::new(), &wire, None)?;
        self.rows.insert(wire.id, rows.clone());
        Ok(rows)
    }

    /// Input `i` as what depends on the images, however the file sees it; a factor that came before becomes a layer.
    pub(super) fn view(&mut self, node: &Node<'_>, i: usize) -> Result<Wire, String> {
        match self.input(node, i)? {
            Held::Wire(wire) => Ok(wire),
            Held::Pending(Pending::Scaled(factor), wire) => {
                let arguments = Table::from_iter([("factor".to_string(), super::number(factor))]);
                let made = self.layer(node, "multiply", arguments, &wire, None)?;
                self.hold(node.input(i).unwrap_or_default(), Held::Wire(made.clone()));
                Ok(made)
            }
            Held::Pending(Pending::Padded(pads, around), _) => node.refuse(format!(
                "reads images padded by {pads:?} ({around:?}); only convolutions, and pools that ignore it, do"
            )),
            Held::Pending(..) => node.refuse("reads an erf; only that of GELU is known"),
            Held::Floats(_) | Held::Ints(_) | Held::Unread(_) => {
                node.refuse(format!("reads a constant as input {i}; it is to depend on the images"))
            }
        }
    }

    /// Input `i` as numbers.
    pub(super) fn floats(&self, node: &Node<'_>, i: usize) -> Result<Rc<HostTensor>, String> {
        match self.input(node, i)? {
            Held::Floats(tensor) => Ok(tensor),
            Held::Ints(_) => node.refuse(format!("reads integers as input {i}")),
            _ => node.refuse(format!("computes input {i} from the images; it is to be constant")),
        }
    }

    /// Input `i` as integers, if it is given.
    pub(super) fn ints(&self, node: &Node<'_>, i: usize) -> Result<Option<Vec<i64>>, String> {
        if node.input(i).is_none() {
            return Ok(None);
        }
        match self.input(node, i)? {
            Held::Ints(array) if array.dims.len() < 2 => Ok(Some(array.values)),
            _ => node.refuse(format!("computes input {i}; it is to be constant integers")),
        }
    }

    /// Adds a layer of one input.
    pub(super) fn layer(
        &mut self,
        node: &Node<'_>,
        name: &str,
        arguments: Table,
        input: &Wire,
        scope: Option<String>,
    ) -> Result<Wire, String> {
        let id = self.id(scope);
        let made = layer(name, arguments.clone()).and_then(|layer| {
            let built = self.graph.scope(&id, |graph| layer.build(graph, input.value));
            built.map_err(|error| error.to_string())
        });
        let value = made.or_else(|message| node.refuse(format!("does not fit: {message}")))?;
        Ok(self.entry(id, name, arguments, &[input], value))
    }

    /// Makes one of several inputs.
    pub(super) fn join(&mut self, node: &Node<'_>, name: &str, inputs: &[&Wire]) -> Result<Wire, String> {
        let id = self.id(None);
        let Some(join) = Join::of(name).filter(|join| join.takes(inputs.len())) else {
            return node.refuse(format!("has {} inputs", inputs.len()));
        };
        if inputs.iter().any(|input| input.last != inputs[0].last) {
            return node.refuse("mixes images with channels last and second");
        }
        let values: Vec<Value> = inputs.iter().map(|input| input.value).collect();
        let made = self.graph.scope(&id, |graph| join.apply(graph, &values));
        let value = made.or_else(|error| node.refuse(format!("does not fit: {error}")))?;
        Ok(self.entry(id, name, Table::new(), inputs, value))
    }

    fn entry(&mut self, id: String, layer: &str, arguments: Table, inputs: &[&Wire], value: Value) -> Wire {
        let names = inputs.iter().map(|input| input.id.clone()).collect();
        self.entries.push(Entry { id: id.clone(), layer: layer.to_string(), arguments, inputs: names });
        let shape = self.graph.shape(value);
        let last = channels_last(shape).filter(|_| inputs[0].last);
        Wire { id, value, last: last.is_some(), seen: last.unwrap_or_else(|| shape.to_vec()) }
    }

    /// The layer that made a wire; none for an input.
    pub(super) fn made_by(&self, wire: &Wire) -> Option<&str> {
        self.entries.iter().find(|entry| entry.id == wire.id).map(|entry| entry.layer.as_str())
    }

    /// A name that no other entry has: the wanted one, or a number.
    fn id(&mut self, wanted: Option<String>) -> String {
        let numbered = (self.entries.len()..).map(|number| format!("n{number}"));
        let id = wanted.into_iter().chain(numbered).find(|id| !self.ids.contains(id)).unwrap_or_default();
        self.ids.insert(id.clone());
        id
    }

    /// Gives the parameter `name` of an entry its value.
    pub(super) fn store(
        &mut self,
        node: &Node<'_>,
        wire: &Wire,
        name: &str,
        tensor: HostTensor,
    ) -> Result<(), String> {
        let name = format!("{}.{name}", wire.id);
        let known = self.graph.nodes().iter().rev().find(|node| node.name == name);
        let wanted = known.map(|node| &node.outputs[0].shape);
        if wanted != Some(&tensor.shape) {
            let wanted = wanted.map_or("none".to_string(), Shape::to_string);
            return node.refuse(format!("has the numbers {} where {wanted} is known", tensor.shape));
        }
        self.tensors.insert(name, tensor);
        Ok(())
    }

    /// Images, and the padding that is still to go into a layer.
    pub(super) fn padded(&mut self, node: &Node<'_>) -> Result<(Wire, Option<Margin>), String> {
        match self.input(node, 0)? {
            Held::Pending(Pending::Padded(pads, around), wire) => Ok((wire, Some((pads, around)))),
            _ => Ok((self.wire(node, 0)?, None)),
        }
    }

    /// The graph of all layers, their weights, and what is to be said.
    #[cfg(test)]
    pub(super) fn parts(&self) -> (&Graph, &Tensors, &[String]) {
        (&self.graph, &self.tensors, &self.notes)
    }

    /// The weights, and what is to be said.
    pub(super) fn finish(self) -> (Tensors, Vec<String>) {
        (self.tensors, self.notes)
    }
}
