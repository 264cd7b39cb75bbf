use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::graph::{Graph, Init, Value};
use crate::ops::{Layer, LayerParser, add::Add, fill::Fill, mul::Mul, parse_layer};

/// Layers of model files that are made of operators, with their parsers.
pub(super) const FACTORS: [(&str, LayerParser); 4] = [
    ("channel_bias", parse_layer::<ChannelBias>),
    ("layer_scale", parse_layer::<LayerScale>),
    ("multiply", parse_layer::<Multiply>),
    ("offset", parse_layer::<Offset>),
];

/// The shape of one number for each channel beside a tensor: `[C, 1, 1]` beside images, `[C]` beside rows.
fn per_channel(graph: &Graph, input: Value) -> Vec<usize> {
    let shape = graph.shape(input).iter().skip(1);
    shape.enumerate().map(|(place, dim)| if place == 0 { *dim } else { 1 }).collect()
}

/// ConvNeXt's layer scale: a trained factor for each channel, the parameter `layer_scale`, `[C, 1, 1]` beside images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LayerScale {
    /// What all factors start from.
    pub init_value: f32,
}

impl Default for LayerScale {
    fn default() -> LayerScale {
        LayerScale { init_value: 1e-6 }
    }
}

impl Layer for LayerScale {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let shape = per_channel(graph, input);
        let factors = graph.parameter("layer_scale", shape, Init::Constant(self.init_value))?;
        graph.apply1(Mul::default(), &[input, factors])
    }
}

/// A trained number that is added to each channel, the parameter `bias`, `[C, 1, 1]` beside images; it starts as 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelBias {}

impl Layer for ChannelBias {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let shape = per_channel(graph, input);
        let bias = graph.parameter("bias", shape, Init::Constant(0.0))?;
        graph.apply1(Add::default(), &[input, bias])
    }
}

/// `factor x`, with a factor that is not trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Multiply {
    /// The factor.
    pub factor: f32,
}

impl Layer for Multiply {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let factor = graph.apply1(Fill { shape: [].into(), value: self.factor }, &[])?;
        graph.apply1(Mul::default(), &[input, factor])
    }
}

/// `x + value`, with a number that is not trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offset {
    /// What is added.
    pub value: f32,
}

impl Layer for Offset {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let value = graph.apply1(Fill { shape: [].into(), value: self.value }, &[])?;
        graph.apply1(Add::default(), &[input, value])
    }
}
