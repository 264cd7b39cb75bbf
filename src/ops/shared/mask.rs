//! What the dropouts have in common: multiplication by a mask that is 0 where something is dropped and 1 / (1 - p)
//! elsewhere. Each names what is dropped as a whole (`unit`), in Rust and in WGSL; bindings and the entry point are in
//! `shaders/shared/mask.wgsl`.
//!
//! Masks are never stored: the random number of a unit follows from the seed, the node's name, the step and the
//! unit's number in the logical batch, so the backward pass, another device, other micro-batches and a resumed run
//! draw it again.

use super::super::{Draw, Sample};
use super::unary::CHUNK;
use crate::cpu_kernel;
use crate::error::{Error, Result};
use crate::graph::{
    Backward, Context, Graph, Lower, Mode, Op, Real, Slot, Step, TensorDesc, Value, View, ViewMut,
};
use crate::tensor::{CounterRng, Purpose, Shape, pcg4d, unit_f32};

/// A dropout.
pub trait Dropping: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The operator's stem.
    const NAME: &'static str;

    /// Whether the pixels of a channel are dropped apart from each other.
    const PER_PIXEL: bool;

    /// Probability that a unit is dropped.
    fn p(&self) -> f32;

    /// What the input must look like.
    fn check(_: &Shape) -> Result<(), String> {
        Ok(())
    }

    /// The number, in the logical batch, of the unit that element `(n, c, pixel)` belongs to.
    fn unit(sizes: Sizes, n: u32, c: u32, pixel: u32) -> u32;
}

/// How the elements of a batch are counted; wraps in batches of more than 2^32 elements, on all devices alike.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Channels of an image, or the elements of a sample that is no image.
    pub channels: u32,
    /// Pixels of an image; 1 for samples that are no images.
    pub pixels: u32,
}

impl Sizes {
    fn of(shape: &Shape) -> Sizes {
        let (channels, pixels) = match shape.as_4d() {
            Some([_, c, h, w]) => (c, h * w),
            None => (shape.iter().skip(1).product(), 1),
        };
        Sizes { channels: channels as u32, pixels: pixels as u32 }
    }
}

/// The operator, and its own gradient: `input -> input mask`, `grad_output -> grad_output mask`.
#[derive(Clone, Debug)]
pub struct Mask<D> {
    dropping: D,
    gradient: bool,
}

impl<D: Dropping> Op for Mask<D> {
    fn name(&self) -> &'static str {
        D::NAME
    }

    fn pass(&self) -> &'static str {
        if self.gradient { "grad_input" } else { "forward" }
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        D::check(&inputs[0].shape)?;
        Ok(vec![inputs[0].clone()])
    }

    /// dx = dy mask
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let grad = b.grad_output();
        Ok(vec![b.when_needed(0, Mask { dropping: self.dropping.clone(), gradient: true }, &[grad])?])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (count, dtype) = (lower.outputs[0].numel(), lower.outputs[0].dtype);
        let Sizes { channels, pixels } = Sizes::of(&lower.outputs[0].shape);
        let key = CounterRng::key_of(Purpose::Dropout, lower.name);
        lower
            .dispatch(D::NAME, "forward")
            .read("input", Slot::Input(0))
            .write("output", Slot::Output(0))
            .uniform("count", count)
            .uniform("channels", channels)
            .uniform("pixels", pixels)
            .uniform("key", key)
            .uniform("p", self.dropping.p())
            .uniform("scale", self.scale::<f32>())
            .loads(dtype)
            .stores(dtype, false)
            .over(count.div_ceil(4));
    }

    fn takes_half(&self, _: usize, _: &[TensorDesc]) -> bool {
        true
    }

    cpu_kernel!(eval);
}

impl<D: Dropping> Mask<D> {
    /// The mask where nothing is dropped.
    fn scale<T: Real>(&self) -> T {
        match self.dropping.p() {
            1.0 => T::zero(),
            p => T::one() / (T::one() - T::of(p.into())),
        }
    }

    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let (input, sizes) = (inputs[0].real, Sizes::of(inputs[0].shape()));
        let (channels, pixels) = (sizes.channels as usize, sizes.pixels as usize);
        let (stream, base) = (stream(context.step, context.name), context.step.sample_base);
        let (p, scale) = (self.dropping.p(), self.scale());
        let draw = |n: usize, pixel: usize, mask: &mut [T]| {
            let n = base.wrapping_add(n as u32);
            for (c, mask) in (0..).zip(mask) {
                let unit = D::unit(sizes, n, c, pixel as u32);
                *mask = if uniform(stream, unit) >= p { scale } else { T::zero() };
            }
        };
        // A row holds the channels of one pixel. Several pixels share a mask unless they are dropped apart.
        let rows = (CHUNK / channels).max(1);
        context.host.for_each_chunk(outputs[0].real, rows * channels, &|chunk, output| {
            context.host.with_scratch(channels, &mut |mask| {
                let input = input[chunk * rows * channels..].chunks_exact(channels);
                for (i, (output, input)) in output.chunks_exact_mut(channels).zip(input).enumerate() {
                    let row = chunk * rows + i;
                    if D::PER_PIXEL || i == 0 || row.is_multiple_of(pixels) {
                        draw(row / pixels, row % pixels, mask);
                    }
                    // A product, not a choice of 0: a dropped NaN stays a NaN, as in PyTorch.
                    output.iter_mut().zip(input).zip(&*mask).for_each(|((y, x), m)| *y = *x * *m);
                }
            });
        });
    }
}

/// What the random numbers of one node in one step start from.
fn stream(step: &Step, name: &str) -> [u32; 3] {
    let key = CounterRng::key_of(Purpose::Dropout, name);
    let [a, b, c, _] = pcg4d([step.seed as u32, (step.seed >> 32) as u32, key, step.step]);
    [a, b, c]
}

/// The uniform number of one unit.
fn uniform([a, b, c]: [u32; 3], unit: u32) -> f32 {
    unit_f32(pcg4d([unit, a, b, c])[0])
}

/// Applies a dropout in the graph's scope; in evaluation, and with p = 0, the output is the input itself.
pub(crate) fn build<D: Dropping>(dropping: &D, graph: &mut Graph, input: Value) -> Result<Value> {
    let p = dropping.p();
    if !(0.0..=1.0).contains(&p) {
        return Err(Error::Model(format!("has a {} with p = {p}; p must be between 0 and 1", D::NAME)));
    }
    if graph.mode() == Mode::Eval || p == 0.0 {
        return Ok(input);
    }
    graph.apply1(Mask { dropping: dropping.clone(), gradient: false }, &[input])
}

/// A sample of a dropout.
pub(crate) fn sample<D: Dropping>(id: &str, shape: &[usize], dropping: D) -> Sample {
    Sample::new(format!("{}/{id}", D::NAME), vec![(shape.to_vec(), Draw::Normal)], move |graph, values| {
        Ok(vec![build(&dropping, graph, values[0])?])
    })
}
