//! `torch.nn.functional.cross_entropy`: log-softmax and negative log-likelihood in one, for class indices or
//! probabilities as targets.
//!
//! Letters: logits `N C`; targets `N` (indices) or `N C` (probabilities); class weights `C`.

use serde::{Deserialize, Serialize};

use super::fill::Fill;
use super::mul::Mul;
use super::shared::cross_entropy_host::{Targets, rows_per_chunk};
use super::shared::matrix::sum_rows;
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

/// Whether so few logits are done by one workgroup, whose invocations do a row at a time: to launch several dispatches costs
/// more. An estimate, not measured on a large GPU.
pub(super) fn is_small(rows: usize, classes: usize) -> bool {
    classes <= 256 && rows * classes <= 16_384
}

/// What the normalizers of a row are: largest logit, log of the sum of exp(logit - largest), sum of the weighted target.
pub(crate) const COLUMNS: usize = 3;

/// The operator: `(logits, targets[, weight]) -> (loss, normalizers, total_weight)`; the last two are for its gradient. With
/// the gradient in one it is `-> (loss, grad_logits)`, the gradient under an upstream gradient of 1.
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
    /// Whether the loss's gradient is computed with it.
    #[serde(skip)]
    pub with_gradient: bool,
}

impl Default for CrossEntropy {
    fn default() -> CrossEntropy {
        CrossEntropy { label_smoothing: 0.0, ignore_index: -100, reduction: Reduction::Mean, with_gradient: false }
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

    /// The same with the gradient in one.
    pub fn with_gradient(self) -> CrossEntropy {
        CrossEntropy { with_gradient: true, ..self }
    }

    /// Adds what all passes tell the shader.
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

    /// Begins a dispatch of the forward operator.
    fn dispatch<'l, 'a>(&self, lower: &'l mut Lower<'a>, entry: &'static str) -> DispatchBuilder<'l, 'a> {
        let (logits, targets, has_weight) = (&lower.inputs[0], &lower.inputs[1], lower.inputs.len() == 3);
        let dispatch = lower
            .dispatch("cross_entropy", entry)
            .read("logits", Slot::Input(0))
            .read("targets", Slot::Input(1))
            .read("weight", Slot::Input(if has_weight { 2 } else { 0 }))
            .uniform("has_weight", has_weight);
        self.uniforms(dispatch, logits, targets)
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
        let loss = TensorDesc::f32([]);
        let second = if self.with_gradient { inputs[0].clone() } else { TensorDesc::f32([rows, COLUMNS]) };
        Ok(vec![loss.clone(), second, loss])
    }

    /// `L = - sum_c t[c] log p[c]` with p = softmax(x), so that `dx = dL (p sum_c t[c] - t) / W`; t is the smoothed
    /// target times the class weights, W what the sum over rows is divided by
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        if self.with_gradient {
            let mut grads = vec![None; b.inputs().len()];
            grads[0] = Some(scaled(b, b.output(1), b.grad_output())?);
            return Ok(grads);
        }
        let mut inputs = vec![b.grad_output(), b.input(0), b.input(1), b.output(1), b.output(2)];
        inputs.extend(b.inputs().get(2));
        let mut grads = vec![b.when_needed(0, CrossEntropyGrad(*self), &inputs)?];
        grads.resize(b.inputs().len(), None);
        Ok(grads)
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let [rows, classes] = lower.inputs[0].shape.as_2d().expect("the shape rule has checked the rank");
        let normalizers = if self.with_gradient { lower.scratch(rows * COLUMNS) } else { Slot::Output(1) };
        if self.with_gradient && is_small(rows, classes) {
            self.dispatch(lower, "both")
                .write("normalizers", normalizers)
                .write("output", Slot::Output(0))
                .write("gradient", Slot::Output(1))
                .write("total", Slot::Output(2))
                .uniform("nan_bits", f32::NAN.to_bits())
                .uniform("mean", self.reduction == Reduction::Mean)
                .groups(1);
            return;
        }
        let total = Slot::Output(2);
        let losses = lower.scratch(2 * rows);
        self.dispatch(lower, "forward")
            .write("normalizers", normalizers)
            .write("losses", losses)
            .uniform("nan_bits", f32::NAN.to_bits())
            .groups(rows);
        lower
            .dispatch("cross_entropy", "finish")
            .read("row_losses", losses)
            .write("output", Slot::Output(0))
            .write("total", total)
            .uniform("rows", rows)
            .uniform("mean", self.reduction == Reduction::Mean)
            .groups(1);
        if self.with_gradient {
            self.dispatch(lower, "grad_logits")
                .read("row_normalizers", normalizers)
                .read("total_weight", total)
                .read("grad_output", total)
                .write("output", Slot::Output(1))
                .uniform("alone", true)
                .over(rows * classes);
        }
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

impl CrossEntropy {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let [rows, classes] = inputs[0].shape().as_2d().expect("the shape rule has checked the rank");
        let targets = Targets::new(*self, classes, inputs[1], inputs.get(2));
        let mut kept_normalizers = vec![];
        let [loss, second, total] = outputs else { unreachable!("the shape rule gives three outputs") };
        let (normalizers, gradient) = if self.with_gradient {
            kept_normalizers.resize(rows * COLUMNS, T::zero());
            (&mut kept_normalizers[..], Some(second))
        } else {
            (&mut *second.real, None)
        };
        let total = &mut *total.real;
        let logits = inputs[0].real;
        let some = rows_per_chunk(classes);
        let mut losses = vec![T::zero(); 2 * rows];
        let (first, second) = ((&mut *normalizers, some * COLUMNS), (&mut losses[..], some * 2));
        context.host.for_each_chunk_pair(first, second, &|chunk, normalizers, losses| {
            let pairs = normalizers.chunks_exact_mut(COLUMNS).zip(losses.chunks_exact_mut(2));
            for (row, (normalizers, losses)) in (chunk * some..).zip(pairs) {
                targets.forward(&logits[row * classes..][..classes], row, normalizers, losses);
            }
        });
        let mut sums = [T::zero(); 2];
        sum_rows(context.host, &losses, 2, &mut sums);
        total[0] = if self.reduction == Reduction::Mean { sums[1] } else { T::one() };
        loss.real[0] = sums[0] / total[0];
        if let Some(gradient) = gradient {
            let scale = T::one() / total[0];
            targets.backward(context.host, logits, normalizers, scale, gradient.real);
        }
    }
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
            .uniform("has_weight", has_weight)
            .uniform("alone", false);
        self.0.uniforms(dispatch, logits, targets).over(logits.numel());
    }

    cpu_kernel!(eval);
}

impl CrossEntropyGrad {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let classes = inputs[1].shape()[1];
        let targets = Targets::new(self.0, classes, inputs[2], inputs.get(5));
        let scale = inputs[0].real[0] / inputs[4].real[0];
        targets.backward(context.host, inputs[1].real, inputs[3].real, scale, outputs[0].real);
    }
}

/// `gradient grad_output`, where the latter is the loss's: nothing is left to do if it is 1.
fn scaled(b: &mut Backward<'_>, gradient: Value, grad_output: Value) -> Result<Value> {
    match b.op_of::<Fill>(grad_output) {
        Some(fill) if fill.value == 1.0 => Ok(gradient),
        _ => b.apply1(Mul::default(), &[gradient, grad_output]),
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
        case("gradient-in-one", [67, 10], some_ignored(10), true, smooth.with_gradient()),
        case("gradient-in-one-sum", [5, 7], classes(7), false, sum.with_gradient()),
        case("gradient-in-one-soft", [7, 5], soft, false, plain.with_gradient()),
        case("gradient-with-many-classes", [3, 263], classes(263), false, smooth.with_gradient()),
        case("probabilities", [7, 5], soft, false, plain),
        case("probabilities-smoothing", [5, 7], soft, true, smooth),
        case("probabilities-sum", [3, 9], soft, true, sum),
        case("all-ignored", [5, 3], classes(1), false, plain.ignore_index(0)).without_gradient(),
        case("out-of-range", [17, 3], classes(9), false, plain).without_gradient(),
    ]
}
