//! Rows of a tensor, each times a factor that follows from norms: what optimizers and clipping by layers need.

use super::{Draw, Operator, Sample};
use crate::cpu_kernel;
use crate::graph::{Context, Lower, Op, Real, Slot, TensorDesc, View, ViewMut};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "scale_by_norm",
    summary: "rows times a factor of their norms (Muon, LAMB, timm's adaptive_clip_grad)",
    shader: shader!("scale_by_norm", REDUCE),
    layer: None,
    samples,
};

/// Elements of a row that one workgroup does, at least.
const SHORTEST_PART: usize = 1024;
/// Workgroups of a row, at most: each adds up the parts of all.
const MOST_PARTS: usize = 256;

/// The operator: `(input[, reference]) -> output`, all of one shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleByNorm {
    /// Which factor.
    pub rule: Rule,
    /// Whether each index of the first dimension is a row by itself, if there are two dimensions or more; if not, the
    /// whole tensor is one.
    pub by_row: bool,
}

/// The factor on a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// One over its norm, or over `eps` if that is larger.
    Unit {
        /// The least that it is divided by.
        eps: f32,
    },
    /// LAMB's trust ratio: the reference's norm over its own, 1 if either is 0.
    Trust,
    /// What brings it, without the loss scale, to `clip_factor` times the reference's norm (at least `eps`), if it is
    /// longer.
    Clip {
        /// The most that it may be of the reference's norm.
        clip_factor: f32,
        /// The least norm that the reference is taken to have.
        eps: f32,
    },
}

impl Rule {
    /// The factor for a row's norm and its reference's.
    fn factor<T: Real>(self, own: T, other: T, loss_scale: f32) -> T {
        let number = |value: f32| T::of(f64::from(value));
        let at_least = |x: T, least: T| if x < least { least } else { x };
        match self {
            Rule::Unit { eps } => T::one() / at_least(own, number(eps)),
            Rule::Trust if own == T::zero() || other == T::zero() => T::one(),
            Rule::Trust => other / own,
            Rule::Clip { clip_factor, eps } => {
                let most = number(clip_factor) * at_least(other, number(eps));
                let norm = own / number(loss_scale);
                if norm < most { T::one() } else { most / at_least(norm, T::of(1e-6)) }
            }
        }
    }
}

impl ScaleByNorm {
    fn rows(&self, shape: &Shape) -> usize {
        if self.by_row && shape.len() > 1 { shape[0] } else { 1 }
    }
}

impl Op for ScaleByNorm {
    fn name(&self) -> &'static str {
        "scale_by_norm"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        if let Some(reference) = inputs.get(1).filter(|reference| reference.shape != inputs[0].shape) {
            return Err(format!("the reference is {}, the input {}", reference.shape, inputs[0].shape));
        }
        Ok(vec![TensorDesc::f32(inputs[0].shape.clone())])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let len = lower.inputs[0].numel() / self.rows(&lower.inputs[0].shape);
        // Rows are by themselves, so they may lie in parts.
        if self.by_row && !lower.is_whole() {
            let [inputs, references, outputs] =
                [Slot::Input(0), Slot::Input(lower.inputs.len() - 1), Slot::Output(0)].map(|slot| lower.parts(slot));
            for ((input, reference), output) in inputs.into_iter().zip(references).zip(outputs) {
                self.lower_rows(lower, [input.rows.len(), len], [input.slot, reference.slot, output.slot]);
            }
            return;
        }
        let (rows, reference) = (self.rows(&lower.inputs[0].shape), Slot::Input(lower.inputs.len() - 1));
        self.lower_rows(lower, [rows, len], [Slot::Input(0), reference, Slot::Output(0)]);
    }

    cpu_kernel!(eval);
}

impl ScaleByNorm {
    /// Adds the dispatches of so many rows, of `len` elements each.
    fn lower_rows(&self, lower: &mut Lower<'_>, [rows, len]: [usize; 2], [input, reference, output]: [Slot; 3]) {
        let part_len = len.div_ceil(MOST_PARTS).max(SHORTEST_PART);
        let parts = len.div_ceil(part_len);
        let partials = lower.scratch(2 * rows * parts);
        let sizes = [("rows", rows), ("len", len), ("parts", parts), ("part_len", part_len)];
        let (rule, eps, clip_factor) = match self.rule {
            Rule::Unit { eps } => (0, eps, 0.0),
            Rule::Trust => (1, 0.0, 0.0),
            Rule::Clip { clip_factor, eps } => (2, eps, clip_factor),
        };
        lower
            .dispatch("scale_by_norm", "partial")
            .read("input", input)
            .read("reference", reference)
            .write("partials", partials)
            .uniforms(&sizes)
            .groups(rows * parts);
        lower
            .dispatch("scale_by_norm", "scale")
            .read("input", input)
            .read("control", Slot::Control)
            .write("partials", partials)
            .write("output", output)
            .uniforms(&sizes)
            .uniforms(&[("rule", rule)])
            .uniform("eps", eps)
            .uniform("clip_factor", clip_factor)
            .groups(rows * parts);
    }

    /// y = factor(|x|, |r|) x for each row x and its reference r
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        const CHUNK: usize = 65_536;
        let (input, reference) = (inputs[0].real, inputs[inputs.len() - 1].real);
        let rows = self.rows(inputs[0].shape());
        let len = input.len() / rows;
        let pairs = input.chunks_exact(len).zip(reference.chunks_exact(len));
        let factors: Vec<T> =
            pairs.map(|(own, other)| self.rule.factor(norm(own), norm(other), context.loss_scale)).collect();
        let chunk = if rows == 1 { CHUNK } else { len };
        context.host.for_each_chunk(outputs[0].real, chunk, &|index, output| {
            let factor = factors[if rows == 1 { 0 } else { index }];
            let input = &input[index * chunk..];
            output.iter_mut().zip(input).for_each(|(y, x)| *y = factor * *x);
        });
    }
}

/// The root of the sum of squares, in sums of some terms each: they keep more digits.
fn norm<T: Real>(values: &[T]) -> T {
    const TERMS: usize = 1024;
    values.chunks(TERMS).map(|terms| terms.iter().map(|x| *x * *x).sum::<T>()).sum::<T>().sqrt()
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, shape: &[usize], rule: Rule, by_row: bool, reference: bool| {
        let mut inputs = vec![(shape.to_vec(), Draw::Constant)];
        inputs.extend(reference.then(|| (shape.to_vec(), Draw::Constant)));
        let op = ScaleByNorm { rule, by_row };
        let id = format!("scale_by_norm/{id}");
        Sample::new(id, inputs, move |graph, values| graph.apply(op, values)).without_gradient()
    };
    let clip = |clip_factor| Rule::Clip { clip_factor, eps: 1e-3 };
    vec![
        case("unit", &[7, 13], Rule::Unit { eps: 1e-7 }, false, false),
        case("unit-large", &[37, 71], Rule::Unit { eps: 1e-7 }, false, false),
        case("unit-of-little", &[3], Rule::Unit { eps: 100.0 }, false, false),
        case("trust", &[5, 3, 3, 7], Rule::Trust, false, true),
        case("trust-large", &[3001], Rule::Trust, false, true),
        case("clip", &[5, 3, 3, 7], clip(0.5), true, true),
        case("clip-nothing", &[5, 7], clip(100.0), true, true),
        case("clip-vector", &[70], clip(0.1), true, true),
        case("clip-long-rows", &[3, 1501], clip(0.1), true, true),
    ]
}
