//! Batch norms that go into the convolutions before them.

use std::collections::HashMap;

use crate::graph::{Graph, NodeKind, Value};
use crate::ops::batch_norm::Normalization;
use crate::ops::conv2d::Convolution;
use crate::tensor::HostTensor;
use crate::train::weights::Tensors;

/// The batch norms that are folded, and the tensors of the convolutions that take them up.
pub(super) struct Folding {
    /// Node of a batch norm -> the value that is the same now.
    pub(super) same: HashMap<usize, Value>,
    /// Node of a convolution -> the name of its bias.
    pub(super) biases: HashMap<usize, String>,
    /// The new weights and biases.
    pub(super) tensors: Tensors,
}

impl Folding {
    /// Folds nothing.
    pub(super) fn none() -> Folding {
        Folding { same: HashMap::new(), biases: HashMap::new(), tensors: Tensors::new() }
    }

    /// Folds each batch norm that alone reads what a convolution makes; a weight that several nodes read stays.
    pub(super) fn of(graph: &Graph, tensors: &Tensors) -> Folding {
        let mut folding = Folding::none();
        for index in 0..graph.nodes().len() {
            folding.fold(graph, index, tensors);
        }
        folding
    }

    fn fold(&mut self, graph: &Graph, index: usize, tensors: &Tensors) -> Option<()> {
        let norm = graph.op_at::<Normalization>(index)?;
        let inputs = &graph.nodes()[index].inputs;
        let made = inputs[0];
        graph.op_at::<Convolution>(made.node)?;
        let convolution = &graph.nodes()[made.node];
        let alone = graph.only_reader(made).is_some() && graph.only_reader(convolution.inputs[1]).is_some();
        if !alone || norm.residual || norm.epilogue.is_some() {
            return None;
        }
        let stored = |value: Value| {
            let node = &graph.nodes()[value.node];
            matches!(node.kind, NodeKind::Parameter(_) | NodeKind::Statistic(_)).then_some(&node.name)
        };
        let vector = |value: Option<&Value>| Some(&tensors.get(stored(*value?)?)?.data);
        let (mean, variance) = (vector(inputs.get(1))?, vector(inputs.get(2))?);
        let (weight, bias) = (vector(inputs.get(3)), vector(inputs.get(4)));
        let name = stored(convolution.inputs[1])?;
        let old_bias = vector(convolution.inputs.get(2));
        let filters = tensors.get(name)?;
        let scale = |k: usize| {
            let weight = weight.map_or(1.0, |weight| f64::from(weight[k]));
            weight / (f64::from(variance[k]) + f64::from(norm.eps)).sqrt()
        };
        let mut scaled = filters.clone();
        let len = (filters.data.len() / mean.len().max(1)).max(1);
        for (k, filter) in scaled.data.chunks_mut(len).enumerate() {
            filter.iter_mut().for_each(|value| *value = (f64::from(*value) * scale(k)) as f32);
        }
        let shifted = |k: usize| {
            let shift = bias.map_or(0.0, |bias| f64::from(bias[k]));
            let old = old_bias.map_or(0.0, |bias| f64::from(bias[k]));
            (shift + (old - f64::from(mean[k])) * scale(k)) as f32
        };
        let shifts = (0..mean.len()).map(shifted).collect();
        let bias_name = match convolution.inputs.get(2) {
            Some(bias) => stored(*bias)?.clone(),
            None => format!("{}.bias", name.strip_suffix(".weight").unwrap_or(name)),
        };
        self.tensors.insert(name.clone(), scaled);
        self.tensors.insert(bias_name.clone(), HostTensor::new([mean.len()], shifts));
        self.biases.insert(made.node, bias_name);
        self.same.insert(index, made);
        Some(())
    }
}
