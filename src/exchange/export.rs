//! Networks as ONNX files.

use std::collections::HashSet;

use prost::Message;

use super::folding::Folding;
use super::form::{Attribute, Form, Site, Source, Step};
use super::operators;
use super::proto::{
    AttributeProto, AttributeType, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
    data_type,
};
use super::{Exported, tensors};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeKind, Value};
use crate::tensor::Shape;
use crate::train::RunModel;
use crate::train::weights::Tensors;

/// The version of ONNX's operators that files are written for; 20 is the first with `Gelu`.
pub const OPSET: i64 = 20;

/// The version of the format that belongs to it.
const IR_VERSION: i64 = 9;

/// Longest message that protobuf's other readers take.
const MOST_BYTES: usize = i32::MAX as usize;

/// The network as an ONNX file in inference form: images `[batch, C, H, W]`, normalised, in; logits `[batch, classes]`
/// out. The batch is open; classes, normalisation and resizing are in the metadata. With `fold` batch norms become part of
/// the convolutions before them.
///
/// # Errors
/// If an operator has no form in ONNX, tensors are missing, or the file would be too large for the format (2 GiB).
pub fn onnx(exported: &Exported<'_>, fold: bool) -> Result<Vec<u8>> {
    let (graph, output) = exported.graph()?;
    let how = How { fold, open_batch: true };
    let file = model(&graph, output, exported.tensors, how)?;
    let file = ModelProto { metadata_props: metadata(exported), ..file };
    if file.encoded_len() > MOST_BYTES {
        let name = exported.model.name();
        return Err(Error::Model(format!("\"{name}\" has more than the 2 GiB that an ONNX file holds")));
    }
    Ok(file.encode_to_vec())
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How {
    /// Whether batch norms go into convolutions.
    pub(super) fold: bool,
    /// Whether the first dimension of inputs and output is left open.
    pub(super) open_batch: bool,
}

/// A graph in ONNX, without metadata.
pub(super) fn model(graph: &Graph, output: Value, values: &Tensors, how: How) -> Result<ModelProto> {
    let folding = if how.fold { Folding::of(graph, values) } else { Folding::none() };
    let mut writer =
        Writer { graph, values, folding, written: HashSet::new(), file: GraphProto::default(), output, how };
    let needed = graph.needed_by([&output]);
    for index in (0..graph.nodes().len()).filter(|index| needed[*index]) {
        writer.node(index)?;
    }
    if writer.name(output) != OUTPUT {
        // The network makes nothing of its input, or ends in a batch norm that was folded.
        let from = writer.name(output);
        writer.push("Identity", vec![from], OUTPUT.to_string(), vec![]);
    }
    writer.file.name = Some("wgrad".to_string());
    writer.file.output.push(value_info(OUTPUT, graph.shape(output), how));
    Ok(ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("wgrad".to_string()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_string()),
        graph: Some(writer.file),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props: vec![],
    })
}

/// The name of the file's output.
const OUTPUT: &str = "logits";

struct Writer<'a> {
    graph: &'a Graph,
    values: &'a Tensors,
    folding: Folding,
    /// Names of the tensors that are in the file.
    written: HashSet<String>,
    file: GraphProto,
    output: Value,
    how: How,
}

impl Writer<'_> {
    fn node(&mut self, index: usize) -> Result<()> {
        let node = &self.graph.nodes()[index];
        match &node.kind {
            NodeKind::Input => {
                self.file.input.push(value_info(&node.name, &node.outputs[0].shape, self.how));
                Ok(())
            }
            // What a folded batch norm had goes with it.
            NodeKind::Parameter(_) | NodeKind::Statistic(_) => Ok(()),
            NodeKind::Op(_) if self.folding.same.contains_key(&index) => Ok(()),
            NodeKind::Op(op) => {
                let site = Site { graph: self.graph, node: index };
                let form = operators::form_of(op.as_ref(), &site, "ONNX")?;
                self.steps(index, form)
            }
            NodeKind::Resident | NodeKind::Gradient => Err(Error::Model(format!(
                "has \"{}\", which is not of a network's inference form",
                node.name
            ))),
        }
    }

    fn steps(&mut self, index: usize, form: Form) -> Result<()> {
        let count = form.onnx.len();
        let mut made = vec![];
        for (number, mut step) in form.onnx.into_iter().enumerate() {
            let bias = self.folding.biases.get(&index).cloned();
            if let Some(bias) = bias {
                step.inputs.truncate(2);
                step.inputs.push(Source::Named(bias));
            }
            let own = self.name(Value { node: index, output: 0 });
            let output = if number + 1 == count { own } else { format!("{own}/{number}") };
            let Step { op, inputs, attributes } = step;
            let mut names = vec![];
            for (place, source) in inputs.into_iter().enumerate() {
                // Not as steps are called.
                let constant = format!("{output}/in{place}");
                names.push(self.source(index, source, &made, constant)?);
            }
            let attributes = attributes.into_iter().map(|(name, value)| attribute(name, value)).collect();
            self.push(op, names, output.clone(), attributes);
            made.push(output);
        }
        Ok(())
    }

    fn push(&mut self, op: &str, input: Vec<String>, output: String, attribute: Vec<AttributeProto>) {
        self.file.node.push(NodeProto {
            input,
            name: Some(output.clone()),
            output: vec![output],
            op_type: Some(op.to_string()),
            attribute,
            domain: None,
        });
    }

    /// The name of what a step reads; `constant` is that of a tensor that is made for it.
    fn source(&mut self, index: usize, source: Source, made: &[String], constant: String) -> Result<String> {
        Ok(match source {
            Source::Step(step) => made[step].clone(),
            Source::Floats(dims, values) => self.add(tensors::floats(&constant, &dims, &values)),
            Source::Ints(values) => self.add(tensors::integers(&constant, &values)),
            Source::Named(name) => self.stored(name)?,
            Source::Input(i) => {
                let value = self.graph.nodes()[index].inputs[i];
                let node = &self.graph.nodes()[value.node];
                match node.kind {
                    NodeKind::Parameter(_) | NodeKind::Statistic(_) => self.stored(node.name.clone())?,
                    _ => self.name(value),
                }
            }
        })
    }

    fn add(&mut self, tensor: TensorProto) -> String {
        let name = tensor.name.clone().unwrap_or_default();
        self.file.initializer.push(tensor);
        name
    }

    /// The name of a parameter or statistic, which is written when it is first read.
    fn stored(&mut self, name: String) -> Result<String> {
        if self.written.insert(name.clone()) {
            let tensor = self.folding.tensors.get(&name).or_else(|| self.values.get(&name));
            let tensor = tensor.ok_or_else(|| Error::Model(format!("has no values for \"{name}\"")))?;
            self.file.initializer.push(tensors::floats(&name, &tensor.shape, &tensor.data));
        }
        Ok(name)
    }

    /// The name of what a node makes: the output's own for the last, else the node's, which no parameter has.
    fn name(&self, value: Value) -> String {
        if let Some(same) = self.folding.same.get(&value.node) {
            return self.name(*same);
        }
        let node = &self.graph.nodes()[value.node];
        match node.kind {
            NodeKind::Op(_) if value == self.output => OUTPUT.to_string(),
            NodeKind::Op(_) => format!("/{}", node.name),
            _ => node.name.clone(),
        }
    }
}

fn attribute(name: &str, value: Attribute) -> AttributeProto {
    let mut attribute = AttributeProto { name: Some(name.to_string()), ..Default::default() };
    let kind = match value {
        Attribute::Int(value) => {
            attribute.i = Some(value);
            AttributeType::Int
        }
        Attribute::Ints(values) => {
            attribute.ints = values;
            AttributeType::Ints
        }
        Attribute::Float(value) => {
            attribute.f = Some(value);
            AttributeType::Float
        }
        Attribute::Text(text) => {
            attribute.s = Some(text.as_bytes().to_vec());
            AttributeType::String
        }
    };
    attribute.r#type = Some(kind.into());
    attribute
}

/// An input or output of floats.
fn value_info(name: &str, shape: &Shape, how: How) -> ValueInfoProto {
    let dim = |(place, dim): (usize, &usize)| match how.open_batch && place == 0 {
        true => DimensionProto { dim_param: Some("batch".to_string()), dim_value: None },
        false => DimensionProto { dim_value: Some(*dim as i64), dim_param: None },
    };
    let shape = TensorShapeProto { dim: shape.iter().enumerate().map(dim).collect() };
    let of_tensor = TensorTypeProto { elem_type: Some(data_type::FLOAT), shape: Some(shape) };
    ValueInfoProto { name: Some(name.to_string()), r#type: Some(TypeProto { tensor_type: Some(of_tensor) }) }
}

/// What a user of the file has to know, as texts; lists are JSON.
fn metadata(exported: &Exported<'_>) -> Vec<StringStringEntryProto> {
    let RunModel { classes, normalization, resize, .. } = exported.about;
    let entry =
        |key: &str, value: String| StringStringEntryProto { key: Some(key.to_string()), value: Some(value) };
    let mut entries = vec![entry("classes", serde_json::json!(classes).to_string())];
    entries.push(entry("layout", "NCHW".to_string()));
    entries.push(entry("pixels", "0..1, then (pixel - mean) / std".to_string()));
    if let Some(normalization) = normalization {
        entries.push(entry("mean", serde_json::json!(normalization.mean).to_string()));
        entries.push(entry("std", serde_json::json!(normalization.std).to_string()));
    }
    if let Some(shorter) = resize {
        entries.push(entry("resize", shorter.to_string()));
    }
    entries
}

/// Any inference graph as an ONNX file: its inputs by their names in, the value `logits` out. `values` are the parameters
/// and running statistics.
///
/// # Errors
/// If an operator has no form in ONNX, or values are missing.
pub fn onnx_graph(graph: &Graph, output: Value, values: &Tensors) -> Result<Vec<u8>> {
    Ok(model(graph, output, values, How::default())?.encode_to_vec())
}
