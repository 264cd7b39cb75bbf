//! Networks as Python modules for PyTorch.

use std::collections::{HashMap, HashSet};

use super::Exported;
use super::form::{Form, Site};
use super::operators::{self, norms::SHIFT_ONLY};
use crate::error::Result;
use crate::graph::{Graph, NodeKind, Value};

/// The network as the text of a Python module that loads `weights` (a safetensors file beside it) and gives the same
/// logits. Parameters have their names and layouts, so that the module can also be trained, but for dropout, which the
/// inference form does not have.
///
/// # Errors
/// If an operator has no form in PyTorch, or tensors are missing.
pub fn pytorch(exported: &Exported<'_>, weights: &str) -> Result<String> {
    let (graph, output) = exported.graph()?;
    let mut writer = Writer { graph: &graph, modules: vec![], lines: vec![], names: HashMap::new(), next: 1 };
    for (index, form) in forms(&graph, output)? {
        writer.node(index, form, output);
    }
    let returned = writer.names.get(&output).cloned().unwrap_or_else(|| "images".to_string());
    Ok(text(exported, weights, &writer, &returned))
}

/// The nodes that the output is made of, with what operators are; what a module holds itself is none of them.
fn forms(graph: &Graph, output: Value) -> Result<Vec<(usize, Option<Form>)>> {
    let mut needed = HashSet::from([output.node]);
    let mut forms = vec![];
    for (index, node) in graph.nodes().iter().enumerate().rev().filter(|(index, _)| *index <= output.node) {
        if !needed.contains(&index) {
            continue;
        }
        let form = match &node.kind {
            NodeKind::Op(op) => {
                Some(operators::form_of(op.as_ref(), &Site { graph, node: index }, "PyTorch")?)
            }
            _ => None,
        };
        if let Some(form) = &form {
            let read =
                node.inputs.iter().enumerate().filter(|(i, _)| form.torch.contains(&format!("{{{i}}}")));
            needed.extend(read.map(|(_, input)| input.node));
        }
        forms.push((index, form));
    }
    forms.reverse();
    Ok(forms)
}

struct Writer<'a> {
    graph: &'a Graph,
    /// What `__init__` makes: path and expression.
    modules: Vec<(String, String)>,
    /// What `forward` does.
    lines: Vec<String>,
    names: HashMap<Value, String>,
    next: usize,
}

impl Writer<'_> {
    fn node(&mut self, index: usize, form: Option<Form>, output: Value) {
        let node = &self.graph.nodes()[index];
        let own = Value { node: index, output: 0 };
        let Some(form) = form else {
            if matches!(node.kind, NodeKind::Input) {
                self.names.insert(own, "images".to_string());
            }
            return;
        };
        let mut text = form.torch;
        if let Some(module) = form.module {
            let path = self.path(index);
            text = text.replace("{m}", &format!("m({path:?})"));
            self.modules.push((path, module));
        }
        for (i, input) in node.inputs.iter().enumerate() {
            let place = format!("{{{i}}}");
            if text.contains(&place) {
                let name = self.read(*input);
                text = text.replace(&place, &name);
            }
        }
        let name = self.target(index, output);
        self.lines.push(format!("{name} = {text}"));
        self.names.insert(own, name);
    }

    /// Where the module of a node is: where its parameters are; without any, where the node is.
    fn path(&self, index: usize) -> String {
        let node = &self.graph.nodes()[index];
        let inputs = node.inputs.iter().map(|input| &self.graph.nodes()[input.node]);
        let mut stored =
            inputs.filter(|input| matches!(input.kind, NodeKind::Parameter(_) | NodeKind::Statistic(_)));
        let scope = stored.next().and_then(|tensor| tensor.name.rsplit_once('.'));
        scope.map_or(node.name.clone(), |(scope, _)| scope.to_string())
    }

    /// How `forward` names a value.
    fn read(&mut self, value: Value) -> String {
        if let Some(name) = self.names.get(&value) {
            return name.clone();
        }
        let node = &self.graph.nodes()[value.node];
        if let NodeKind::Parameter(_) = node.kind {
            let parameter = format!("nn.Parameter(torch.empty({:?}))", self.graph.shape(value).to_vec());
            self.modules.push((node.name.clone(), parameter));
        }
        format!("self.get_parameter({:?})", node.name)
    }

    /// The variable of what a node makes: that of its first input, if nobody reads that any more.
    fn target(&mut self, index: usize, output: Value) -> String {
        let first = self.graph.nodes()[index].inputs.first().copied();
        let free = first.filter(|first| *first != output && !self.read_after(*first, index));
        let reused = free.and_then(|first| self.names.get(&first)).filter(|name| *name != "images").cloned();
        reused.unwrap_or_else(|| {
            self.next += 1;
            if self.next == 2 { "x".to_string() } else { format!("x{}", self.next - 1) }
        })
    }

    fn read_after(&self, value: Value, index: usize) -> bool {
        self.graph.nodes()[index + 1..].iter().any(|node| node.inputs.contains(&value))
    }
}

fn text(exported: &Exported<'_>, weights: &str, writer: &Writer<'_>, returned: &str) -> String {
    let Exported { about, model, .. } = exported;
    let [c, h, w] = model.input();
    let modules: String = writer
        .modules
        .iter()
        .fold(String::new(), |all, (path, module)| all + &format!("        put(self, {path:?}, {module})\n"));
    let lines: String =
        writer.lines.iter().fold(String::new(), |all, line| all + &format!("        {line}\n"));
    let classes = serde_json::json!(about.classes).to_string();
    let normalization = about.normalization.as_ref().map_or(String::new(), |normalization| {
        format!("MEAN = {:?}\nSTD = {:?}\n", normalization.mean, normalization.std)
    });
    let resize = about.resize.map_or(String::new(), |shorter| {
        format!("RESIZE = {shorter}  # what the shorter side becomes before the middle is taken\n")
    });
    let shift_only = if writer.modules.iter().any(|(_, module)| module.starts_with(SHIFT_ONLY)) {
        format!(
            "\n\ndef {SHIFT_ONLY}(norm):\n    \"\"\"The norm without its weight.\"\"\"\n    \
             norm.register_parameter(\"weight\", None)\n    return norm\n"
        )
    } else {
        String::new()
    };
    let normalized = if normalization.is_empty() { "" } else { ", normalised by MEAN and STD" };
    format!(
        r#"# Written by wgrad {version} from {name}. Inference form: dropout is left out.
# Images are [N, {c}, {h}, {w}] of 0..1{normalized}; the output are logits.
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

CLASSES = {classes}
{normalization}{resize}

def put(root, path, what):
    """Registers a module or parameter below root, by the dots in its path."""
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root._modules[parent]
    (root.register_parameter if isinstance(what, nn.Parameter) else root.add_module)(name, what)
{shift_only}

class Model(nn.Module):
    def __init__(self):
        super().__init__()
{modules}
    def forward(self, images):
        m = self.get_submodule
{lines}        return {returned}


def load(path=Path(__file__).with_name({weights:?})):
    """The network with its weights, ready to be used."""
    model = Model()
    model.load_state_dict(load_file(path))
    return model.eval()
"#,
        version = env!("CARGO_PKG_VERSION"),
        name = model.name().replace(['\n', '\r'], " "),
    )
}
