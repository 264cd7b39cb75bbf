//! The number of rows whose largest logit belongs to the target's class; a metric, without a gradient.

use super::cross_entropy::{check_targets, is_small};
use super::fill::Fill;
use super::{Draw, Operator, Sample};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Context, Lower, Op, Real, Slot, TensorDesc, View, ViewMut};
use crate::tensor::DType;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "accuracy",
    summary: "number of rows whose argmax is the target ((logits.argmax(1) == targets).sum())",
    shader: shader!("accuracy", REDUCE),
    layer: None,
    samples,
};

/// The operator: `(logits, targets) -> count`, for targets as [`super::cross_entropy::CrossEntropy`] takes them.
///
/// Of equal logits the first counts, as with `torch.argmax`, and a NaN is larger than all numbers. Rows whose class is
/// no class, such as `ignore_index`, count as wrong; probabilities stand for their largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accuracy {}

impl Op for Accuracy {
    fn name(&self) -> &'static str {
        "accuracy"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        check_targets(inputs)?;
        Ok(vec![TensorDesc::f32([])])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let [rows, classes] = [0, 1].map(|dim| lower.inputs[0].shape[dim]);
        let soft = lower.inputs[1].dtype == DType::F32;
        if is_small(rows, classes) {
            lower
                .dispatch("accuracy", "alone")
                .read("logits", Slot::Input(0))
                .read("targets", Slot::Input(1))
                .write("output", Slot::Output(0))
                .uniforms(&[("rows", rows), ("classes", classes)])
                .uniform("soft", soft)
                .groups(1);
            return;
        }
        let correct = lower.scratch(rows);
        lower
            .dispatch("accuracy", "forward")
            .read("logits", Slot::Input(0))
            .read("targets", Slot::Input(1))
            .write("output", correct)
            .uniforms(&[("rows", rows), ("classes", classes)])
            .uniform("soft", soft)
            .groups(rows);
        lower
            .dispatch("accuracy", "finish")
            .read("correct", correct)
            .write("output", Slot::Output(0))
            .uniform("rows", rows)
            .groups(1);
    }

    cpu_kernel!(eval);
}

impl Accuracy {
    fn eval<T: Real>(&self, _: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let classes = inputs[0].shape()[1];
        let target = |row: usize| match inputs[1].desc.dtype.is_real() {
            true => Some(argmax(&inputs[1].real[row * classes..][..classes])),
            false => usize::try_from(inputs[1].int[row]).ok(),
        };
        let logits = inputs[0].real.chunks_exact(classes).enumerate();
        let correct = logits.filter(|(row, logits)| target(*row) == Some(argmax(logits))).count();
        outputs[0].real[0] = T::of(correct as f64);
    }
}

/// The first of the largest values, or the first NaN.
fn argmax<T: Real>(values: &[T]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] || (value.is_nan() && !values[best].is_nan()) {
            best = i;
        }
    }
    best
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, [rows, classes]: [usize; 2], targets: Draw| {
        let shape = if targets == Draw::Probabilities { vec![rows, classes] } else { vec![rows] };
        let inputs = vec![(vec![rows, classes], Draw::Normal), (shape, targets)];
        let id = format!("accuracy/{id}");
        let build = |graph: &mut crate::graph::Graph, values: &[_]| graph.apply(Accuracy {}, values);
        Sample::new(id, inputs, build).without_gradient().may_drop_nan()
    };
    vec![
        case("indices", [131, 3], Draw::Classes(3, false)),
        case("ignored", [37, 2], Draw::Classes(2, true)),
        case("one", [1, 1], Draw::Classes(1, false)),
        case("many-classes", [5, 197], Draw::Classes(197, false)),
        case("too-many-classes-for-one-workgroup", [131, 257], Draw::Classes(257, false)),
        case("probabilities", [67, 5], Draw::Probabilities),
        first_of_ties(),
    ]
}

/// Equal logits of more classes than a workgroup has invocations: the answer is the first class.
fn first_of_ties() -> Sample {
    let inputs = vec![(vec![5], Draw::Classes(1, false))];
    let sample = Sample::new("accuracy/first-of-ties", inputs, |graph, values| {
        let equal = graph.apply1(Fill { shape: [5, 331].into(), value: 1.5 }, &[])?;
        graph.apply(Accuracy {}, &[equal, values[0]])
    });
    sample.without_gradient().may_drop_nan()
}
