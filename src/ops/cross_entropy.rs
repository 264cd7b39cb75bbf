//! `torch.nn.functional.cross_entropy`: log-softmax and negative log-likelihood in one, for class indices or
//! probabilities as targets.
//!
//! Letters: logits `N C`; targets `N` (indices) or `N C` (probabilities); class weights `C`.

use serde::{Deserialize, Serialize};

use super::shared::matrix::sum_rows;
use super::shared::unary::CHUNK;
use super::{Draw, Operator, Reduction, Sample};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Backward, Context, DispatchBuilder, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};
use crate::tensor::DType;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "cross_entropy",
    summary: "loss of logits against classes or probabilities (torch.nn.functional.cross_entropy)",
    shader: shader!("cross_entropy", SPECIAL, REDUCE),
    layer: None,
    samples,
};

/// What the normalizers of a row are: largest logit, log of the sum of exp(logit - largest), sum of the weighted target.
const COLUMNS: usize = 3;

/// The operator: `(logits, targets[, weight]) -> (loss, normalizers, total_weight)`; the last two are for its gradient.
/// Arguments and defaults are those of `torch.nn.functional.cross_entropy`, whose class weights are the third input.
///
/// A row whose class is neither in 0..C nor `ignore_index` makes the loss NaN.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CrossEntropy {
    /// How much of each target is spread evenly over all classes, in 0..=1.
    pub label_smoothing: f32,
    /// The class index of rows that do not count.
    pub ignore_index: i32,
    /// The mean (by weight, if targets are indices) or the sum over rows.
    pub reduction: Reduction,
}

impl Default for CrossEntropy {
    fn default() -> CrossEntropy {
        CrossEntropy { label_smoothing: 0.0, ignore_index: -100, reduction: Reduction::Mean }
    }
}

impl CrossEntropy {
    /// The same with label smoothing.
    pub fn label_smoothing(self, label_smoothing: f32) -> CrossEntropy {
        CrossEntropy { label_smoothing, ..self }
    }

    /// The same with another class index for rows that do not count.
    pub fn ignore_index(self, ignore_index: i32) -> CrossEntropy {
        CrossEntropy { ignore_index, ..self }
    }

    /// The same with the mean or the sum.
    pub fn reduction(self, reduction: Reduction) -> CrossEntropy {
        CrossEntropy { reduction, ..self }
    }

    /// Adds what both passes tell the shader.
    fn uniforms<'l, 'a>(
        &self,
        dispatch: DispatchBuilder<'l, 'a>,
        logits: &TensorDesc,
        targets: &TensorDesc,
    ) -> DispatchBuilder<'l, 'a> {
        dispatch
            .uniform("rows", logits.shape[0])
            .uniform("classes", logits.shape[1])
            .uniform("soft", targets.dtype == DType::F32)
            .uniform("ignore_index", self.ignore_index)
            .uniform("label_smoothing", self.label_smoothing)
    }
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let rows = check_targets(inputs)?;
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            return Err(format!("label_smoothing must be in 0..=1, it is {}", self.label_smoothing));
        }
        let (logits, classes) = (&inputs[0].shape, inputs[0].shape[1]);
        if let Some(weight) = inputs.get(2).filter(|weight| *weight.shape != [classes]) {
            return Err(format!("weight must be [{classes}] for logits {logits}, it is {}", weight.shape));
        }
        Ok(vec![TensorDesc::f32([]), TensorDesc::f32([rows, COLUMNS]), TensorDesc::f32([])])
    }

    /// `L = - sum_c t[c] log p[c]` with p = softmax(x), so that `dx = dL (p sum_c t[c] - t) / W`; t is the smoothed
    /// target times the class weights, W what the sum over rows is divided by
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let mut inputs = vec![b.grad_output(), b.input(0), b.input(1), b.output(1), b.output(2)];
        inputs.extend(b.inputs().get(2));
        let mut grads = vec![b.when_needed(0, CrossEntropyGrad(*self), &inputs)?];
        grads.resize(b.inputs().len(), None);
        Ok(grads)
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (logits, targets) = (&lower.inputs[0], &lower.inputs[1]);
        let rows = logits.shape[0];
        let has_weight = lower.inputs.len() == 3;
        let losses = lower.scratch(2 * rows);
        let dispatch = lower
            .dispatch("cross_entropy", "forward")
            .read("logits", Slot::Input(0))
            .read("targets", Slot::Input(1))
            .read("weight", Slot::Input(if has_weight { 2 } else { 0 }))
            .write("normalizers", Slot::Output(1))
            .write("losses", losses)
            .uniform("has_weight", has_weight)
            .uniform("nan_bits", f32::NAN.to_bits());
        self.uniforms(dispatch, logits, targets).groups(rows);
        lower
            .dispatch("cross_entropy", "finish")
            .read("row_losses", losses)
            .write("output", Slot::Output(0))
            .write("total", Slot::Output(2))
            .uniform("rows", rows)
            .uniform("mean", self.reduction == Reduction::Mean)
            .groups(1);
    }

    cpu_kernel!(eval);
}

/// The number of rows, if logits and targets fit.
pub(super) fn check_targets(inputs: &[TensorDesc]) -> Result<usize, String> {
    let (logits, targets) = (&inputs[0].shape, &inputs[1].shape);
    let Some([rows, classes]) = logits.as_2d() else {
        return Err(format!("logits must be [N, C], they are {logits}"));
    };
    match inputs[1].dtype {
        DType::I32 if **targets != [rows] => {
            Err(format!("class indices must be [{rows}] for logits {logits}, they are {targets}"))
        }
        DType::F32 if **targets != [rows, classes] => {
            Err(format!("probabilities must be {logits} like the logits, they are {targets}"))
        }
        _ => Ok(rows),
    }
}

/// The targets of a CPU kernel: what share of a row's loss each class has.
struct Targets<'a, T> {
    op: CrossEntropy,
    classes: usize,
    targets: View<'a, T>,
    weight: Option<&'a [T]>,
    smoothing: T,
}

/// What a row's target is.
enum Target<'a, T> {
    Ignored,
    Invalid,
    Class(usize),
    Probabilities(&'a [T]),
}

impl<'a, T: Real> Targets<'a, T> {
    fn new(op: CrossEntropy, classes: usize, targets: View<'a, T>, weight: Option<&View<'a, T>>) -> Self {
        let smoothing = T::of(f64::from(op.label_smoothing));
        Targets { op, classes, targets, weight: weight.map(|weight| weight.real), smoothing }
    }

    fn row(&self, row: usize) -> Target<'a, T> {
        if self.targets.desc.dtype == DType::F32 {
            return Target::Probabilities(&self.targets.real[row * self.classes..][..self.classes]);
        }
        match self.targets.int[row] {
            class if class == self.op.ignore_index => Target::Ignored,
            class => match usize::try_from(class) {
                Ok(class) if class < self.classes => Target::Class(class),
                _ => Target::Invalid,
            },
        }
    }

    fn class_weight(&self, class: usize) -> T {
        self.weight.map_or(T::one(), |weight| weight[class])
    }

    /// The smoothed target of a class times its weight.
    fn share(&self, target: &Target<'_, T>, class: usize) -> T {
        let probability = match target {
            Target::Probabilities(probabilities) => probabilities[class],
            Target::Class(wanted) if *wanted == class => T::one(),
            _ => T::zero(),
        };
        let even = self.smoothing / T::of(self.classes as f64);
        self.class_weight(class) * (probability * (T::one() - self.smoothing) + even)
    }

    /// Fills a row's normalizers, its loss and its weight.
    fn forward(&self, logits: &[T], row: usize, normalizers: &mut [T], losses: &mut [T]) {
        let mut largest = logits[0];
        for x in &logits[1..] {
            largest = if *x > largest { *x } else { largest };
        }
        let log_sum = logits.iter().map(|x| (*x - largest).exp()).sum::<T>().ln();
        let log_p = |class: usize| (logits[class] - largest) - log_sum;
        let target = self.row(row);
        let shares = |class: usize| self.share(&target, class);
        let all = || (0..self.classes).map(|class| (shares(class) * log_p(class), shares(class)));
        let sums = || all().fold((T::zero(), T::zero()), |(a, b), (x, y)| (a + x, b + y));
        let (log_likelihood, mass, weight) = match target {
            Target::Ignored => (T::zero(), T::zero(), T::zero()),
            Target::Invalid => (T::nan(), T::nan(), T::nan()),
            Target::Class(class) => {
                // Without smoothing, an infinite logit of another class must not make the loss NaN.
                let (sum, mass) = match self.smoothing == T::zero() {
                    true => (shares(class) * log_p(class), shares(class)),
                    false => sums(),
                };
                (sum, mass, self.class_weight(class))
            }
            Target::Probabilities(_) => (sums().0, sums().1, T::one()),
        };
        normalizers.copy_from_slice(&[largest, log_sum, mass]);
        losses.copy_from_slice(&[-log_likelihood, weight]);
    }
}

impl CrossEntropy {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let [rows, classes] = inputs[0].shape().as_2d().expect("the shape rule has checked the rank");
        let targets = Targets::new(*self, classes, inputs[1], inputs.get(2));
        let [loss, normalizers, total] = outputs else { unreachable!("the shape rule gives three outputs") };
        let logits = inputs[0].real;
        let some = rows_per_chunk(classes);
        let mut losses = vec![T::zero(); 2 * rows];
        let (first, second) = ((&mut *normalizers.real, some * COLUMNS), (&mut losses[..], some * 2));
        context.host.for_each_chunk_pair(first, second, &|chunk, normalizers, losses| {
            let pairs = normalizers.chunks_exact_mut(COLUMNS).zip(losses.chunks_exact_mut(2));
            for (row, (normalizers, losses)) in (chunk * some..).zip(pairs) {
                targets.forward(&logits[row * classes..][..classes], row, normalizers, losses);
            }
        });
        let mut sums = [T::zero(); 2];
        sum_rows(context.host, &losses, 2, &mut sums);
        total.real[0] = if self.reduction == Reduction::Mean { sums[1] } else { T::one() };
        loss.real[0] = sums[0] / total.real[0];
    }
}

/// Rows of a parallel piece of work.
fn rows_per_chunk(classes: usize) -> usize {
    (CHUNK / 8).div_ceil(classes)
}

/// The gradient: `(grad_output, logits, targets, normalizers, total_weight[, weight]) -> grad_logits`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CrossEntropyGrad(CrossEntropy);

impl Op for CrossEntropyGrad {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn pass(&self) -> &'static str {
        "grad_logits"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![inputs[1].clone()])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (logits, targets) = (&lower.inputs[1], &lower.inputs[2]);
        let has_weight = lower.inputs.len() == 6;
        let dispatch = lower
            .dispatch("cross_entropy", "grad_logits")
            .read("grad_output", Slot::Input(0))
            .read("logits", Slot::Input(1))
            .read("targets", Slot::Input(2))
            .read("row_normalizers", Slot::Input(3))
            .read("total_weight", Slot::Input(4))
            .read("weight", Slot::Input(if has_weight { 5 } else { 1 }))
            .write("output", Slot::Output(0))
            .uniform("has_weight", has_weight);
        self.0.uniforms(dispatch, logits, targets).over(logits.numel());
    }

    cpu_kernel!(eval);
}

impl CrossEntropyGrad {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let classes = inputs[1].shape()[1];
        let targets = Targets::new(self.0, classes, inputs[2], inputs.get(5));
        let (logits, normalizers) = (inputs[1].real, inputs[3].real);
        let scale = inputs[0].real[0] / inputs[4].real[0];
        let some = rows_per_chunk(classes);
        context.host.for_each_chunk(outputs[0].real, some * classes, &|chunk, output| {
            for (row, output) in (chunk * some..).zip(output.chunks_exact_mut(classes)) {
                let target = targets.row(row);
                let [largest, log_sum, mass] = [0, 1, 2].map(|i| normalizers[row * COLUMNS + i]);
                // An ignored row has no gradient, even if no row counts and the scale is infinite.
                let scale = if matches!(target, Target::Ignored) { T::zero() } else { scale };
                for (class, (dx, x)) in output.iter_mut().zip(&logits[row * classes..]).enumerate() {
                    let p = ((*x - largest) - log_sum).exp();
                    *dx = scale * (p * mass - targets.share(&target, class));
                }
            }
        });
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, [rows, classes]: [usize; 2], targets: Draw, weighted: bool, op: CrossEntropy| {
        let shape = if targets == Draw::Probabilities { vec![rows, classes] } else { vec![rows] };
        let mut inputs = vec![(vec![rows, classes], Draw::Normal), (shape, targets)];
        if weighted {
            inputs.push((vec![classes], Draw::ConstantPositive));
        }
        Sample::new(format!("cross_entropy/{id}"), inputs, move |graph, values| {
            Ok(vec![graph.apply1(op, values)?])
        })
    };
    let plain = CrossEntropy::default();
    let (smooth, sum) = (plain.label_smoothing(0.1), plain.reduction(Reduction::Sum));
    let soft = Draw::Probabilities;
    let classes = |count| Draw::Classes(count, false);
    let some_ignored = |count| Draw::Classes(count, true);
    vec![
        case("indices", [7, 10], classes(10), false, plain),
        case("one-row", [1, 3], classes(3), false, plain),
        case("one-class", [5, 1], classes(1), false, plain),
        case("many-rows", [131, 3], classes(3), false, plain),
        case("many-classes", [2, 197], classes(197), false, smooth),
        case("sum", [5, 7], classes(7), false, sum),
        case("smoothing", [9, 7], classes(7), false, smooth),
        case("weight", [9, 5], classes(5), true, plain),
        case("weight-smoothing", [9, 5], some_ignored(5), true, smooth),
        case("ignore", [11, 5], some_ignored(5), false, plain),
        case("ignore-smoothing-sum", [11, 5], some_ignored(5), true, smooth.reduction(Reduction::Sum)),
        case("ignore-index", [11, 3], classes(3), false, plain.ignore_index(2)).may_drop_nan(),
        case("probabilities", [7, 5], soft, false, plain),
        case("probabilities-smoothing", [5, 7], soft, true, smooth),
        case("probabilities-sum", [3, 9], soft, true, sum),
        case("all-ignored", [5, 3], classes(1), false, plain.ignore_index(0)).without_gradient(),
        case("out-of-range", [17, 3], classes(9), false, plain).without_gradient(),
    ]
}
