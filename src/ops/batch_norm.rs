//! `torch.nn.BatchNorm1d` and `BatchNorm2d`: each channel over the whole batch.
//!
//! In memory the input is a matrix: rows N H W, columns C. See `shaders/batch_norm.wgsl` for the passes.

use serde::{Deserialize, Serialize};

use super::shared::matrix::Matrix;
use super::{Draw, Layer, Operator, Sample, parse_layer};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{
    Backward, Context, Graph, Init, Lower, Mode, Op, Real, Slot, TensorDesc, Value, View, ViewMut,
};
use crate::tensor::Shape;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "batch_norm",
    summary: "normalises each channel over the batch (torch.nn.BatchNorm2d)",
    shader: shader!("batch_norm", REDUCE),
    layer: Some(parse_layer::<BatchNorm>),
    samples,
};

/// The layer; arguments and defaults are those of `torch.nn.BatchNorm2d`, `num_features` is inferred.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f32,
    /// Weight of a batch's statistics in the running ones.
    pub momentum: f32,
    /// Whether to scale and shift each channel.
    pub affine: bool,
}

impl Default for BatchNorm {
    fn default() -> BatchNorm {
        BatchNorm { eps: 1e-5, momentum: 0.1, affine: true }
    }
}

impl Layer for BatchNorm {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let channels = graph.shape(input).get(1).copied().unwrap_or(1);
        let mut affine = vec![];
        if self.affine {
            affine.push(graph.parameter("weight", [channels], Init::Constant(1.0))?);
            affine.push(graph.parameter("bias", [channels], Init::Constant(0.0))?);
        }
        let running_mean = graph.statistic("running_mean", [channels], 0.0)?;
        let running_var = graph.statistic("running_var", [channels], 1.0)?;
        let op = Normalization { eps: self.eps, mode: graph.mode() };
        let running = [running_mean, running_var];
        let statistics: &[Value] = if op.mode == Mode::Eval { &running } else { &[] };
        let outputs = graph.apply(op, &[&[input], statistics, &affine].concat())?;
        if let [_, mean, _, var_unbiased] = outputs[..] {
            graph.update_statistic(running_mean, mean, self.momentum);
            graph.update_statistic(running_var, var_unbiased, self.momentum);
        }
        Ok(outputs[0])
    }
}

/// The operator. In training `(input[, weight, bias]) -> output, mean, invstd, var_unbiased`, by the batch's statistics;
/// in evaluation `(input, running_mean, running_var[, weight, bias]) -> output, invstd`. All but input and output are
/// `[C]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Added to the variance.
    pub eps: f32,
    /// Whose statistics.
    pub mode: Mode,
}

impl Normalization {
    fn training(&self) -> bool {
        self.mode == Mode::Train
    }

    /// Number of the first input after the input and the running statistics: the weight, if there is one.
    fn weight(&self) -> usize {
        if self.training() { 1 } else { 3 }
    }
}

impl Op for Normalization {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let input = &inputs[0].shape;
        if !matches!(input.len(), 2 | 4) {
            return Err(format!("input must be [N, C, H, W] or [N, C], it is {input}"));
        }
        let channels = input[1];
        if let Some(other) = inputs[1..].iter().find(|other| *other.shape != [channels]) {
            return Err(format!(
                "expects tensors of {channels} channels for input {input}, one is {}",
                other.shape
            ));
        }
        if self.training() && input.numel() <= channels {
            return Err(format!("expects more than 1 value per channel when training, the input is {input}"));
        }
        let vector = TensorDesc::f32([channels]);
        let statistics = if self.training() { 3 } else { 1 };
        Ok([vec![inputs[0].clone()], vec![vector; statistics]].concat())
    }

    /// xhat = (x - mean) invstd: dw = sum dy xhat, db = sum dy, and dx = w invstd (dy - db/n - xhat dw/n) over the n
    /// elements of a channel; with constant statistics dx = w invstd dy
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let weight = self.weight();
        let (mean, invstd) =
            if self.training() { (b.output(1), b.output(2)) } else { (b.input(1), b.output(1)) };
        let mut inputs = vec![b.grad_output(), b.input(0), mean, invstd];
        inputs.extend(b.inputs().get(weight));
        let grads = b.apply(NormalizationGrad { training: self.training() }, &inputs)?;
        let mut all = vec![None; weight];
        all[0] = Some(grads[0]);
        all.extend(grads[1..].iter().map(|grad| Some(*grad)));
        Ok(all)
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let matrix = matrix(&lower.inputs[0].shape);
        let (mean, invstd) = match self.mode {
            Mode::Train => (Slot::Output(1), Slot::Output(2)),
            Mode::Eval => (Slot::Input(1), Slot::Output(1)),
        };
        match self.mode {
            Mode::Train => self.lower_statistics(lower, &matrix),
            Mode::Eval => lower
                .dispatch("batch_norm", "invert_variance")
                .read("variance", Slot::Input(2))
                .write("new_invstd", invstd)
                .uniforms(&matrix.uniforms())
                .uniform("eps", self.eps)
                .over(matrix.columns),
        }
        let affine = lower.inputs.len() > self.weight();
        let vector = |input| if affine { Slot::Input(input) } else { mean };
        lower
            .dispatch("batch_norm", "normalize")
            .read("input", Slot::Input(0))
            .read("mean", mean)
            .read("invstd", invstd)
            .read("weight", vector(self.weight()))
            .read("bias", vector(self.weight() + 1))
            .write("output", Slot::Output(0))
            .uniforms(&matrix.uniforms())
            .uniform("affine", affine)
            .over(matrix.rows * matrix.columns);
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        inputs[0].numel() as u64 * if self.training() { 8 } else { 4 }
    }

    cpu_kernel!(eval);
}

impl Normalization {
    fn lower_statistics(&self, lower: &mut Lower<'_>, matrix: &Matrix) {
        let partials = lower.scratch(2 * matrix.slabs * matrix.columns);
        lower
            .dispatch("batch_norm", "partial_statistics")
            .read("input", Slot::Input(0))
            .write("new_partials", partials)
            .uniforms(&matrix.uniforms())
            .over(matrix.slabs * matrix.columns);
        lower
            .dispatch("batch_norm", "finish_statistics")
            .read("partials", partials)
            .write("new_mean", Slot::Output(1))
            .write("new_invstd", Slot::Output(2))
            .write("var_unbiased", Slot::Output(3))
            .uniforms(&matrix.uniforms())
            .uniform("eps", self.eps)
            .groups(matrix.columns);
    }

    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let matrix = matrix(inputs[0].shape());
        let input = inputs[0].real;
        let eps = T::of(f64::from(self.eps));
        let invert = |variance: T| T::one() / (variance + eps).sqrt();
        let (output, statistics) = outputs.split_first_mut().expect("the shape rule gives outputs");
        let [mean, scale] = match statistics {
            [mean, invstd, var_unbiased] => {
                let squares = matrix.statistics(context.host, input, mean.real);
                let biased = |squares: &T| invert(*squares / T::of(matrix.rows as f64));
                invstd.real.iter_mut().zip(&squares).for_each(|(to, s)| *to = biased(s));
                let unbiased = |squares: &T| *squares / T::of((matrix.rows - 1) as f64);
                var_unbiased.real.iter_mut().zip(&squares).for_each(|(to, s)| *to = unbiased(s));
                [mean.real.to_vec(), invstd.real.to_vec()]
            }
            _ => {
                let invstd = &mut *statistics[0].real;
                invstd.iter_mut().zip(inputs[2].real).for_each(|(to, variance)| *to = invert(*variance));
                [inputs[1].real.to_vec(), invstd.to_vec()]
            }
        };
        let (scale, bias) = match &inputs[self.weight()..] {
            [weight, bias] => {
                (scale.iter().zip(weight.real).map(|(s, w)| *s * *w).collect(), bias.real.to_vec())
            }
            _ => (scale, vec![T::zero(); matrix.columns]),
        };
        matrix.for_each_row(context.host, output.real, &|first, rows| {
            let sources = input[first..].chunks_exact(matrix.columns);
            for (row, source) in rows.chunks_exact_mut(matrix.columns).zip(sources) {
                let channels = mean.iter().zip(&scale).zip(&bias);
                for ((y, x), ((mean, scale), bias)) in row.iter_mut().zip(source).zip(channels) {
                    *y = (*x - *mean) * *scale + *bias;
                }
            }
        });
    }
}

/// The gradients: `(grad_output, input, mean, invstd[, weight]) -> grad_input[, grad_weight, grad_bias]`.
#[derive(Clone, Debug, PartialEq)]
struct NormalizationGrad {
    training: bool,
}

impl Op for NormalizationGrad {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let affine = if inputs.len() == 5 { 2 } else { 0 };
        Ok([vec![inputs[1].clone()], vec![inputs[2].clone(); affine]].concat())
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let matrix = matrix(&lower.inputs[1].shape);
        let affine = lower.inputs.len() == 5;
        let (mean, invstd) = (Slot::Input(2), Slot::Input(3));
        // The sums are needed for the weight and the bias, and in training for the input.
        let (grad_weight, grad_bias) = match (affine, self.training) {
            (true, _) => (Slot::Output(1), Slot::Output(2)),
            (false, true) => (lower.scratch(matrix.columns), lower.scratch(matrix.columns)),
            (false, false) => (mean, mean),
        };
        if affine || self.training {
            lower_sums(lower, &matrix, [grad_weight, grad_bias]);
        }
        lower
            .dispatch("batch_norm", "grad_input")
            .read("grad_output", Slot::Input(0))
            .read("input", Slot::Input(1))
            .read("mean", mean)
            .read("invstd", invstd)
            .read("weight", if affine { Slot::Input(4) } else { mean })
            .read("grad_weight", grad_weight)
            .read("grad_bias", grad_bias)
            .write("output", Slot::Output(0))
            .uniforms(&matrix.uniforms())
            .uniform("affine", affine)
            .uniform("training", self.training)
            .over(matrix.rows * matrix.columns);
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        inputs[1].numel() as u64 * 11
    }

    cpu_kernel!(eval);
}

fn lower_sums(lower: &mut Lower<'_>, matrix: &Matrix, [grad_weight, grad_bias]: [Slot; 2]) {
    let partials = lower.scratch(2 * matrix.slabs * matrix.columns);
    lower
        .dispatch("batch_norm", "partial_gradients")
        .read("grad_output", Slot::Input(0))
        .read("input", Slot::Input(1))
        .read("mean", Slot::Input(2))
        .read("invstd", Slot::Input(3))
        .write("new_partials", partials)
        .uniforms(&matrix.uniforms())
        .over(matrix.slabs * matrix.columns);
    lower
        .dispatch("batch_norm", "finish_gradients")
        .read("partials", partials)
        .write("new_grad_weight", grad_weight)
        .write("new_grad_bias", grad_bias)
        .uniforms(&matrix.uniforms())
        .groups(matrix.columns);
}

impl NormalizationGrad {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let matrix = matrix(inputs[1].shape());
        let [grad, input, mean, invstd] = [0, 1, 2, 3].map(|i| inputs[i].real);
        let (grad_input, parameters) = outputs.split_first_mut().expect("the shape rule gives outputs");
        let sums = matrix.sums(context.host, grad, input, mean);
        let (grad_bias, deviations) = sums.split_at(matrix.columns);
        let grad_weight: Vec<T> = deviations.iter().zip(invstd).map(|(sum, invstd)| *sum * *invstd).collect();
        if let [to_weight, to_bias] = parameters {
            to_weight.real.copy_from_slice(&grad_weight);
            to_bias.real.copy_from_slice(grad_bias);
        }
        let scale = match inputs.get(4) {
            Some(weight) => weight.real.iter().zip(invstd).map(|(w, s)| *w * *s).collect(),
            None => invstd.to_vec(),
        };
        // dx = scale (dy - offset - (x - mean) slope)
        let count = T::of(matrix.rows as f64);
        let offset: Vec<T> = grad_bias.iter().map(|sum| *sum / count).collect();
        let slope: Vec<T> =
            grad_weight.iter().zip(invstd).map(|(sum, invstd)| *sum * *invstd / count).collect();
        matrix.for_each_row(context.host, grad_input.real, &|first, rows| {
            let sources =
                grad[first..].chunks_exact(matrix.columns).zip(input[first..].chunks_exact(matrix.columns));
            for (row, (grad, input)) in rows.chunks_exact_mut(matrix.columns).zip(sources) {
                let values = row.iter_mut().zip(grad);
                if !self.training {
                    values.zip(&scale).for_each(|((dx, dy), scale)| *dx = *dy * *scale);
                    continue;
                }
                let channels = mean.iter().zip(&scale).zip(offset.iter().zip(&slope));
                for (((dx, dy), x), ((mean, scale), (offset, slope))) in values.zip(input).zip(channels) {
                    *dx = *scale * (*dy - *offset - (*x - *mean) * *slope);
                }
            }
        });
    }
}

/// The input as it lies in memory.
fn matrix(input: &Shape) -> Matrix {
    Matrix::new(input.numel() / input[1], input[1])
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: &[usize], mode: Mode, affine: bool| {
        let mut inputs = vec![(input.to_vec(), Draw::Normal)];
        if mode == Mode::Eval {
            inputs.extend([(vec![input[1]], Draw::Constant), (vec![input[1]], Draw::ConstantPositive)]);
        }
        if affine {
            inputs.extend([(vec![input[1]], Draw::Normal), (vec![input[1]], Draw::Normal)]);
        }
        let op = Normalization { eps: 1e-3, mode };
        Sample::new(format!("batch_norm/{id}"), inputs, move |graph, values| graph.apply(op, values))
    };
    vec![
        case("train", &[3, 5, 3, 2], Mode::Train, true),
        case("train-matrix", &[7, 11], Mode::Train, true),
        case("train-one-image", &[1, 3, 5, 7], Mode::Train, true),
        case("train-one-channel", &[2, 1, 7, 5], Mode::Train, true),
        case("train-many-slabs", &[1, 1, 33, 35], Mode::Train, true),
        case("train-pixel-1", &[3, 5, 1, 1], Mode::Train, true),
        case("train-no-affine", &[2, 3, 5, 3], Mode::Train, false),
        case("train-many-channels", &[3, 67], Mode::Train, true),
        case("eval", &[2, 5, 3, 2], Mode::Eval, true),
        case("eval-one", &[1, 3, 1, 1], Mode::Eval, true),
        case("eval-no-affine", &[3, 7], Mode::Eval, false),
    ]
}
