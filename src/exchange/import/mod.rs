//! ONNX files as models of layers: each node becomes an entry of a `graph` in a model file, with parameters named by its
//! initialisers, so that what is imported is trained, stored and exported like every other model.

mod arithmetic;
mod arrays;
mod builder;
mod constants;
mod layers;
mod node;
mod norms;
mod shapes;
mod text;
mod weighted;
mod windows;

use std::path::Path;

use prost::Message;
use toml::Value as Toml;

use self::builder::Builder;
use self::node::Node;
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto, data_type};
use super::tensors::content;
use crate::data::Normalization;
use crate::error::{Error, Result};
use crate::files;
use crate::models::ModelSpec;
use crate::train::RunModel;
use crate::train::weights::TensorFile;

/// Most nodes that are read.
const MOST_NODES: usize = 10_000;

/// Versions of the operators that are known.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// A model that was read from a file of another tool.
#[derive(Debug)]
pub struct Imported {
    /// The model, for images of any size that its layers take; with `"classes"` where its last layer allows that.
    pub spec: ModelSpec,
    /// Its weights.
    pub weights: TensorFile,
    /// What the file says of itself: size of its images, classes, normalisation.
    pub about: RunModel,
    /// What was left out.
    pub notes: Vec<String>,
}

/// Whether a path is that of an ONNX file, by its name.
pub fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}

/// Reads an ONNX file of a classifier: one input of images `[N, C, H, W]`, one output `[N, classes]`.
///
/// # Errors
/// If the file is damaged, or has an operator that wgrad does not; the message names the node.
pub fn import(path: &Path) -> Result<Imported> {
    let bytes = files::read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    read(&path.display().to_string(), &bytes, folder).map_err(|message| Error::file(path, one_line(&message)))
}

/// Names in a file may have several lines.
fn one_line(message: &str) -> String {
    message.replace(['\n', '\r'], " ")
}

pub(super) fn read(name: &str, bytes: &[u8], folder: &Path) -> Result<Imported, String> {
    let file = decode(bytes)?;
    let metadata = |key: &str| {
        let mut entries = file.metadata_props.iter();
        entries.find(|entry| entry.key.as_deref() == Some(key)).and_then(|entry| entry.value.clone())
    };
    let graph = file.graph.as_ref().ok_or("has no graph")?;
    let (input, [batch, c, h, w]) = images(graph)?;
    let image = [c, h, w];
    let mut builder = build(graph, folder, &[(input, vec![batch, c, h, w])])?;
    let output = output(graph)?;
    let maker = graph.node.iter().find(|node| node.output.first() == Some(&output));
    let Some(proto) = maker else { return Err(format!("gives {output:?}, which no node makes")) };
    // What reads the output would; so a factor at the end becomes a layer, and so do rows.
    let reader = Node { proto: &NodeProto { input: vec![output.clone()], ..proto.clone() }, folder };
    let wire = builder.wire(&reader, 0)?;
    let shape = builder.shape(&wire).to_vec();
    let [_, classes] = shape[..] else {
        return Err(format!("gives {output:?} of the shape {shape:?}; a classifier gives [N, classes]"));
    };
    let text = builder.text(&wire, image, classes);
    let spec = ModelSpec::parse(name, &text).map_err(|error| error.to_string())?;
    let names = metadata("classes").and_then(|text| serde_json::from_str::<Vec<String>>(&text).ok());
    let names = names.filter(|names| names.len() == classes);
    let list = |key: &str| metadata(key).and_then(|text| serde_json::from_str::<Vec<f32>>(&text).ok());
    let normalization = list("mean").zip(list("std")).map(|(mean, std)| Normalization { mean, std });
    if let Some(normalization) = &normalization {
        normalization.check(image[0]).map_err(|error| error.to_string())?;
    }
    let about = RunModel {
        image,
        classes: names.unwrap_or_else(|| (0..classes).map(|class| class.to_string()).collect()),
        normalization,
        resize: metadata("resize").and_then(|text| text.parse().ok()),
        model: text,
    };
    let (tensors, notes) = builder.finish();
    Ok(Imported { spec, weights: TensorFile { tensors, ..Default::default() }, about, notes })
}

pub(super) fn decode(bytes: &[u8]) -> Result<ModelProto, String> {
    let file = ModelProto::decode(bytes).map_err(|error| {
        format!("is not a whole ONNX file ({error}); it may be truncated or of another format")
    })?;
    let own = |domain: &Option<String>| matches!(domain.as_deref(), None | Some("" | "ai.onnx"));
    let opset = file.opset_import.iter().find(|set| own(&set.domain)).and_then(|set| set.version);
    match opset {
        Some(version) if OPSETS.contains(&version) => Ok(file),
        Some(version) => Err(format!(
            "is written for version {version} of ONNX's operators; {} to {} are read",
            OPSETS.start(),
            OPSETS.end()
        )),
        None => {
            Err("does not say for which version of ONNX's operators it is; is it an ONNX file?".to_string())
        }
    }
}

/// Walks the nodes in their order; `inputs` are those that are no constants.
fn build<'a>(
    graph: &'a GraphProto,
    folder: &Path,
    inputs: &[(String, Vec<usize>)],
) -> Result<Builder<'a>, String> {
    if graph.node.len() > MOST_NODES {
        return Err(format!("has {} nodes; at most {MOST_NODES} are read", graph.node.len()));
    }
    let mut constants = vec![];
    for tensor in &graph.initializer {
        let name = tensor.name.clone().unwrap_or_default();
        let content =
            content(tensor, folder).map_err(|message| format!("holds {name:?}, which {message}"))?;
        constants.push((name, content));
    }
    let outputs: Vec<&str> = graph.output.iter().filter_map(|output| output.name.as_deref()).collect();
    let mut builder = Builder::new(&graph.node, &outputs, inputs);
    for (name, content) in constants {
        builder.hold_constant(name, content);
    }
    for (number, node) in graph.node.iter().enumerate() {
        if !builder.is_done(number) {
            layers::add(&mut builder, &Node { proto: node, folder })?;
        }
    }
    Ok(builder)
}

/// The only input that is no constant, and the sizes of its images, the batch first.
fn images(graph: &GraphProto) -> Result<(String, [usize; 4]), String> {
    let is_constant =
        |input: &&ValueInfoProto| graph.initializer.iter().any(|tensor| tensor.name == input.name);
    let inputs: Vec<&ValueInfoProto> = graph.input.iter().filter(|input| !is_constant(input)).collect();
    match inputs[..] {
        [input] => Ok((input.name.clone().unwrap_or_default(), sizes(input)?)),
        _ => Err(format!("has {} inputs; a classifier has one, images of [N, C, H, W]", inputs.len())),
    }
}

fn output(graph: &GraphProto) -> Result<String, String> {
    match &graph.output[..] {
        [output] => Ok(output.name.clone().unwrap_or_default()),
        outputs => {
            Err(format!("has {} outputs; a classifier has one, logits of [N, classes]", outputs.len()))
        }
    }
}

/// Sizes of the images, the batch first.
fn sizes(input: &ValueInfoProto) -> Result<[usize; 4], String> {
    let name = input.name.as_deref().unwrap_or_default();
    let of_tensor = input.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    let of_tensor = of_tensor.ok_or_else(|| format!("has an input {name:?} that is no tensor"))?;
    let kind = of_tensor.elem_type.unwrap_or_default();
    if kind != data_type::FLOAT {
        return Err(format!("has an input {name:?} of type {kind}; images are f32 (type 1)"));
    }
    let dims = of_tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let dims: Vec<Option<usize>> = dims.iter().map(|dim| usize::try_from(dim.dim_value?).ok()).collect();
    let fits = |size: &usize| (1..1 << 15).contains(size);
    match dims[..] {
        // An open batch, or one of 0, is tried with one image.
        [batch, Some(c), Some(h), Some(w)] if [c, h, w].iter().all(fits) => {
            Ok([batch.filter(fits).unwrap_or(1), c, h, w])
        }
        _ => Err(format!(
            "takes {name:?} of the sizes {dims:?}; images are [N, C, H, W], of which only N may be open"
        )),
    }
}

/// A number of f32 as TOML has it, in the fewest digits.
fn number(value: f32) -> Toml {
    Toml::Float(value.to_string().parse().unwrap_or_else(|_| f64::from(value)))
}

#[cfg(test)]
mod node_tests;

#[cfg(test)]
mod tests;
