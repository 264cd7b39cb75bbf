use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use toml::{Table, Value as Toml};

use super::super::proto::NodeProto;
use super::super::tensors::Content;
use super::node::Node;
use crate::graph::{Graph, Mode, TensorDesc, Value};
use crate::models::{Join, layer};
use crate::tensor::{HostTensor, Shape};
use crate::train::weights::Tensors;

/// What the container's input is called.
const INPUT: &str = "input";

/// Arguments that may be the number of classes.
const COUNTS: [&str; 2] = ["out_features", "out_channels"];

/// What a layer made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wire {
    /// The entry's name.
    pub(super) id: String,
    pub(super) value: Value,
    /// Whether the file sees it with channels last.
    pub(super) last: bool,
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
    Ints(Vec<i64>),
}

/// Parts of `gelu(x) = x (1 + erf(x / sqrt 2)) / 2`, and a factor, which may become one.
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
}

struct Entry {
    id: String,
    layer: String,
    arguments: Table,
    inputs: Vec<String>,
}

/// A model file in the making, and its graph, which knows the shapes.
pub(super) struct Builder<'a> {
    nodes: &'a [NodeProto],
    outputs: Vec<String>,
    image: [usize; 4],
    graph: Graph,
    entries: Vec<Entry>,
    ids: HashSet<String>,
    held: HashMap<String, Held>,
    /// Nodes that an earlier one has taken in.
    done: HashSet<usize>,
    tensors: Tensors,
    notes: Vec<String>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        nodes: &'a [NodeProto],
        outputs: &[&str],
        input: &str,
        image: [usize; 4],
    ) -> Result<Builder<'a>, String> {
        let mut graph = Graph::new(Mode::Eval);
        let value = graph.input("images", TensorDesc::f32(image));
        let wire = Wire { id: INPUT.to_string(), value, last: false };
        Ok(Builder {
            nodes,
            outputs: outputs.iter().map(|name| name.to_string()).collect(),
            image,
            graph,
            entries: vec![],
            ids: HashSet::from([INPUT.to_string()]),
            held: HashMap::from([(input.to_string(), Held::Wire(wire))]),
            done: HashSet::new(),
            tensors: Tensors::new(),
            notes: vec![],
        })
    }

    pub(super) fn image(&self) -> [usize; 3] {
        [self.image[1], self.image[2], self.image[3]]
    }

    pub(super) fn hold_constant(&mut self, name: String, content: Content) {
        let held = match content {
            Content::Floats(tensor) => Held::Floats(Rc::new(tensor)),
            Content::Ints(values) => Held::Ints(values),
        };
        self.held.insert(name, held);
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
            Some(held) => Ok(held.clone()),
            None => node.refuse(format!(
                "reads {name:?}, which nothing before it makes; nodes are to be in order, without cycles"
            )),
        }
    }

    /// Input `i` as what depends on the images; a factor that came before becomes a layer.
    pub(super) fn wire(&mut self, node: &Node<'_>, i: usize) -> Result<Wire, String> {
        match self.input(node, i)? {
            Held::Wire(wire) => Ok(wire),
            Held::Pending(Pending::Scaled(factor), wire) => {
                let arguments = Table::from_iter([("factor".to_string(), super::number(factor))]);
                let made = self.layer(node, "multiply", arguments, &wire, None)?;
                self.hold(node.input(i).unwrap_or_default(), Held::Wire(made.clone()));
                Ok(made)
            }
            Held::Pending(..) => node.refuse("reads an erf; only that of GELU is known"),
            Held::Floats(_) | Held::Ints(_) => {
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
            Held::Ints(values) => Ok(Some(values)),
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
        Wire { id, value, last: inputs[0].last && self.graph.shape(value).len() == 4 }
    }

    /// A name that no other entry has: the wanted one, or a number.
    fn id(&mut self, wanted: Option<String>) -> String {
        let numbered = (self.entries.len()..).map(|number| format!("n{number}"));
        let id = wanted.into_iter().chain(numbered).find(|id| !self.ids.contains(id)).unwrap_or_default();
        self.ids.insert(id.clone());
        id
    }

    /// Gives the parameter `name` of an entry its value.
    pub(super) fn store(&mut self, wire: &Wire, name: &str, tensor: HostTensor) {
        self.tensors.insert(format!("{}.{name}", wire.id), tensor);
    }

    /// The model file; the last layer with parameters has `"classes"` if all that follows leaves their number.
    pub(super) fn text(&self, output: &Wire, classes: usize) -> String {
        let head = self.head(output, classes);
        let mut lines = String::new();
        let mut before = INPUT;
        for (number, entry) in self.entries.iter().enumerate() {
            let mut arguments = entry.arguments.clone();
            if head == Some(number) {
                let count = COUNTS.into_iter().find(|count| arguments.contains_key(*count));
                arguments.extend(count.map(|count| (count.to_string(), Toml::from("classes"))));
            }
            let (id, layer) = (Toml::from(entry.id.as_str()), &entry.layer);
            let inputs = match &entry.inputs[..] {
                [only] if only == before => String::new(),
                inputs => format!("inputs = {}, ", Toml::from(inputs.to_vec())),
            };
            let arguments = Toml::Table(arguments);
            lines += &format!("    {{ name = {id}, {inputs}{layer} = {arguments} }},\n");
            before = &entry.id;
        }
        // What is not last is named once more: a model gives what its last layer makes.
        if before != output.id {
            lines += &format!(
                "    {{ name = \"output\", inputs = [{}], multiply = {{ factor = 1.0 }} }},\n",
                Toml::from(output.id.as_str())
            );
        }
        let [_, c, h, w] = self.image;
        format!(
            "# Imported from ONNX: nodes named by their parameters.\nexample = {{ input = [{c}, {h}, {w}], classes = \
             {classes} }}\nlayers = [\n  {{ name = \"\", graph = {{ nodes = [\n{lines}  ] }} }},\n]\n"
        )
    }

    /// The entry that makes as many features as there are classes, if nothing behind it has parameters.
    fn head(&self, output: &Wire, classes: usize) -> Option<usize> {
        let mut id = output.id.as_str();
        loop {
            let number = self.entries.iter().position(|entry| entry.id == id)?;
            let entry = &self.entries[number];
            let [input] = &entry.inputs[..] else { return None };
            let count = COUNTS.into_iter().find_map(|count| entry.arguments.get(count));
            match count.and_then(Toml::as_integer) {
                Some(count) => return (count == classes as i64).then_some(number),
                None if ["batch_norm", "layer_norm", "layer_norm2d"].contains(&entry.layer.as_str()) => {
                    return None;
                }
                None => id = input,
            }
        }
    }

    /// The weights, and what is to be said.
    pub(super) fn finish(self) -> (Tensors, Vec<String>) {
        (self.tensors, self.notes)
    }
}
