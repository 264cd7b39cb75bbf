//! Adaptive gradient clipping, as `timm.utils.adaptive_clip_grad`.

use crate::error::Result;
use crate::graph::{GradientRule, Graph, Parameter, Value};
use crate::ops::scale_by_norm::{Rule, ScaleByNorm};

/// Clips the gradient of each output unit to a share of the norm of its weights (Brock et al., High-Performance
/// Large-Scale Image Recognition Without Normalization, 2021). The network's head is left alone, as timm's training does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveClip {
    /// The most that a gradient's norm may be of the weights'.
    pub clip_factor: f64,
}

/// The least norm that weights are taken to have.
const EPS: f32 = 1e-3;

impl GradientRule for AdaptiveClip {
    fn apply(&self, graph: &mut Graph, parameter: Value, about: &Parameter<'_>) -> Result<Option<Value>> {
        if about.in_head {
            return Ok(None);
        }
        let gradient = graph.gradient_of(parameter, about.shape.clone());
        let rule = Rule::Clip { clip_factor: self.clip_factor as f32, eps: EPS };
        graph.apply1(ScaleByNorm { rule, by_row: true }, &[gradient, parameter]).map(Some)
    }
}
