//! Mixup and cutmix of a batch's images: each with its partner in the batch.

use super::{Draw, Operator, Sample};
use crate::augment::{MIX_WORDS, Mixing, partner};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Context, Graph, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "mix_images",
    summary: "images mixed with their partners, or boxes of them (torchvision.transforms.v2.MixUp, CutMix)",
    shader: shader!("mix_images"),
    layer: None,
    samples,
};

/// The operator: `(images [N, C, H, W], mix [N, 6]) -> images`; the rows of `mix` are [`Mixing::draw`]'s.
///
/// Sample `i` becomes `share x[i] + (1 - share) x[partner]`, and the partner's pixels inside the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixImages {}

impl Op for MixImages {
    fn name(&self) -> &'static str {
        "mix_images"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let [images, mix] = inputs else {
            return Err(format!("takes images and mix, it was given {}", inputs.len()));
        };
        let Some([n, ..]) = images.shape.as_4d() else {
            return Err(format!("images must be [N, C, H, W], they are {}", images.shape));
        };
        check_mix(n, mix)?;
        Ok(vec![images.clone()])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let [n, channels, height, width] = lower.inputs[0].shape.as_4d().expect("the shape rule has checked it");
        let count = lower.outputs[0].numel();
        lower
            .dispatch("mix_images", "forward")
            .read("images", Slot::Input(0))
            .read("mix", Slot::Input(1))
            .write("output", Slot::Output(0))
            .uniforms(&[("count", count), ("images_count", n), ("channels", channels)])
            .uniforms(&[("height", height), ("width", width)])
            .over(count);
    }

    cpu_kernel!(eval);
}

/// What both operators take.
pub(super) fn check_mix(n: usize, mix: &TensorDesc) -> Result<(), String> {
    if *mix == TensorDesc::f32([n, MIX_WORDS]) {
        return Ok(());
    }
    Err(format!("mix must be f32 [{n}, {MIX_WORDS}], it is {:?} {}", mix.dtype, mix.shape))
}

impl MixImages {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let [n, channels, height, width] = inputs[0].dims4();
        let (images, size) = (inputs[0].real, channels * height * width);
        let rows = inputs[1].real.as_chunks::<MIX_WORDS>().0;
        context.host.for_each_chunk(outputs[0].real, size, &|place, output| {
            let own = &images[place * size..][..size];
            let other = &images[partner(place, n) * size..][..size];
            let [_, share, left, right, top, bottom] = rows[place];
            for (i, ((y, x), other)) in output.iter_mut().zip(own).zip(other).enumerate() {
                let [column, row] =
                    [i / channels % width, i / channels / width].map(|at| T::of(at as f64));
                let inside = left <= column && column < right && top <= row && row < bottom;
                *y = if inside { *other } else { share.mul_add(*x, (T::one() - share) * *other) };
            }
        });
    }
}

/// Mixup and cutmix by turns.
pub(super) fn mixing() -> Mixing {
    Mixing { mixup_alpha: 0.8, cutmix_alpha: 1.0, mixup_prob: 0.9, switch_prob: 0.5 }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, [n, c, h, w]: [usize; 4], mixing: Mixing| {
        let inputs = vec![(vec![n, c, h, w], Draw::Constant), (vec![n, MIX_WORDS], Draw::Mixing(mixing, [h, w]))];
        let build = |graph: &mut Graph, values: &[Value]| graph.apply(MixImages {}, values);
        Sample::new(format!("mix_images/{id}"), inputs, build).without_gradient()
    };
    let mixup = Mixing { cutmix_alpha: 0.0, mixup_prob: 1.0, ..mixing() };
    vec![
        case("mixup", [6, 3, 5, 7], mixup),
        case("odd-batch", [7, 2, 3, 5], mixup),
        case("one-sample", [1, 1, 3, 5], mixup),
        case("cutmix", [8, 3, 11, 13], Mixing { mixup_alpha: 0.0, ..mixing() }).may_drop_nan(),
        case("both", [10, 1, 9, 7], mixing()).may_drop_nan(),
    ]
}
