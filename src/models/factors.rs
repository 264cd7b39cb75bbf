use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::graph::{Graph, Init, Value};
use crate::ops::{Layer, LayerParser, fill::Fill, mul::Mul, parse_layer};

/// Layers of model files that are made of operators, with their parsers.
pub(super) const FACTORS: [(&str, LayerParser); 2] =
    [("layer_scale", parse_layer::<LayerScale>), ("multiply", parse_layer::<Multiply>)];

/// ConvNeXt's layer scale: a trained factor for each channel, the parameter `layer_scale` `[C, 1, 1]`.
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
        let channels = graph.shape(input).get(1).copied().unwrap_or(1);
        let factors = graph.parameter("layer_scale", [channels, 1, 1], Init::Constant(self.init_value))?;
        graph.apply1(Mul::default(), &[input, factors])
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
