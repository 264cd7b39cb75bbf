//! The targets of images that are mixed: probabilities of two classes.

use super::mix_images::{check_mix, mixing};
use super::{Draw, Operator, Sample};
use crate::augment::{MIX_WORDS, partner};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Context, Graph, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};
use crate::tensor::DType;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "mix_targets",
    summary: "probabilities of a sample's class and its partner's (torchvision.transforms.v2.MixUp, CutMix)",
    shader: shader!("mix_targets"),
    layer: None,
    samples,
};

/// The operator: `(labels [N], mix [N, 6]) -> probabilities [N, classes]`, the first of each row's numbers being the share
/// of the sample's own class. A label that is no class has no probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixTargets {
    /// Number of classes.
    pub classes: usize,
}

impl Op for MixTargets {
    fn name(&self) -> &'static str {
        "mix_targets"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let [labels, mix] = inputs else {
            return Err(format!("takes labels and mix, it was given {}", inputs.len()));
        };
        if labels.dtype != DType::I32 || labels.shape.len() != 1 {
            return Err(format!("labels must be i32 [N], they are {:?} {}", labels.dtype, labels.shape));
        }
        check_mix(labels.shape[0], mix)?;
        Ok(vec![TensorDesc::f32([labels.shape[0], self.classes])])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let rows = lower.inputs[0].numel();
        lower
            .dispatch("mix_targets", "forward")
            .read("labels", Slot::Input(0))
            .read("mix", Slot::Input(1))
            .write("output", Slot::Output(0))
            .uniforms(&[("rows", rows), ("classes", self.classes)])
            .over(rows * self.classes);
    }

    cpu_kernel!(eval);
}

impl MixTargets {
    fn eval<T: Real>(&self, _: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let labels = inputs[0].int;
        let rows = inputs[1].real.as_chunks::<MIX_WORDS>().0;
        for (place, output) in outputs[0].real.chunks_exact_mut(self.classes).enumerate() {
            let (own, other) = (labels[place], labels[partner(place, labels.len())]);
            let [share, ..] = rows[place];
            for (class, probability) in (0..).zip(output) {
                let of = |label, share| if label == class { share } else { T::zero() };
                *probability = of(own, share) + of(other, T::one() - share);
            }
        }
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, [n, classes]: [usize; 2], ignored: bool| {
        let inputs = vec![
            (vec![n], Draw::Classes(classes, ignored)),
            (vec![n, MIX_WORDS], Draw::Mixing(mixing(), [9, 7])),
        ];
        let build = move |graph: &mut Graph, values: &[Value]| graph.apply(MixTargets { classes }, values);
        Sample::new(format!("mix_targets/{id}"), inputs, build).without_gradient().may_drop_nan()
    };
    vec![case("pairs", [8, 5], false), case("odd-batch", [7, 3], false), case("no-class", [11, 4], true), loss()]
}

/// The loss of logits against mixed targets, with its gradient.
fn loss() -> Sample {
    let inputs = vec![
        (vec![7, 5], Draw::Normal),
        (vec![7], Draw::Classes(5, false)),
        (vec![7, MIX_WORDS], Draw::Mixing(mixing(), [9, 7])),
    ];
    Sample::new("mix_targets/loss", inputs, |graph, values| {
        let targets = graph.apply1(MixTargets { classes: 5 }, &values[1..])?;
        let loss = super::cross_entropy::CrossEntropy::default().label_smoothing(0.1);
        Ok(vec![graph.apply(loss, &[values[0], targets])?[0]])
    })
}
