//! `torch.nn.BatchNorm1d` and `BatchNorm2d`: each channel over the whole batch.
//!
//! In memory the input is a matrix: rows N H W, columns C. See `shaders/batch_norm.wgsl` for the passes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cast::Cast;
use super::conv2d::Conv2d;
use super::fill::Fill;
use super::shared::batch_norm_grad::NormalizationGrad;
use super::shared::batch_norm_host::{Channels, Data};
use super::shared::matrix::Matrix;
use super::{Draw, Epilogue, Layer, Operator, Sample, parse_layer};
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{
    Backward, Context, DispatchBuilder, Graph, Init, Lower, Mode, Op, Real, Slot, TensorDesc, Value, View,
    ViewMut,
};
use crate::tensor::{DType, Shape};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "batch_norm",
    summary: "normalises each channel over the batch (torch.nn.BatchNorm2d)",
    shader: shader!("batch_norm", REDUCE, EPILOGUE, SPECIAL),
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
    /// Whether the scale is a parameter. Without, `affine` only shifts: there is no `weight`, as if
    /// `register_parameter("weight", None)` had been said of PyTorch's layer.
    pub weight: bool,
}

impl Default for BatchNorm {
    fn default() -> BatchNorm {
        BatchNorm { eps: 1e-5, momentum: 0.1, affine: true, weight: true }
    }
}

impl Layer for BatchNorm {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let channels = graph.shape(input).get(1).copied().unwrap_or(1);
        let mut affine = vec![];
        if self.affine {
            affine.push(if self.weight {
                graph.parameter("weight", [channels], Init::Constant(1.0))?
            } else {
                graph.apply1(Fill { shape: [channels].into(), value: 1.0 }, &[])?
            });
            affine.push(graph.parameter("bias", [channels], Init::Constant(0.0))?);
        }
        let running_mean = graph.statistic("running_mean", [channels], 0.0)?;
        let running_var = graph.statistic("running_var", [channels], 1.0)?;
        // As torchvision's and timm's FrozenBatchNorm2d: what is frozen keeps its statistics, and is normalised by them.
        let frozen = self.affine && (!self.weight || graph.freezes("weight")) && graph.freezes("bias");
        let op = Normalization::new(self.eps, if frozen { Mode::Eval } else { graph.mode() });
        let running = [running_mean, running_var];
        let statistics: &[Value] = if op.statistics == Statistics::Running { &running } else { &[] };
        let outputs = graph.apply(op, &[&[input], statistics, &affine].concat())?;
        if let [_, mean, _, var_unbiased] = outputs[..] {
            graph.update_statistic(running_mean, mean, self.momentum);
            graph.update_statistic(running_var, var_unbiased, self.momentum);
        }
        Ok(outputs[0])
    }
}

/// Whose mean and variance the elements of a channel are shifted and scaled by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Those of the batch, which are outputs too.
    Batch,
    /// Those that have been found for this batch before.
    Found,
    /// Running ones.
    Running,
}

/// The operator. In training `(input[, partials][, weight, bias][, residual]) -> output, mean, invstd, var_unbiased`, by
/// the batch's statistics; to make that output again `(input, mean, invstd[, weight, bias][, residual]) -> output`; in
/// evaluation `(input, running_mean, running_var[, weight, bias][, residual]) -> output`. All but input, partials, residual
/// and output are `[C]`. With a residual and an epilogue it is `epilogue(batch_norm(input) + residual)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Added to the variance.
    pub eps: f32,
    /// Whose statistics.
    pub statistics: Statistics,
    /// What is applied to the result.
    pub epilogue: Option<Epilogue>,
    /// Whether the last input is added before the epilogue.
    pub residual: bool,
    /// Whether the convolution that makes the input gives partial statistics of it, as the second input.
    pub partials: bool,
}

impl Normalization {
    /// Without residual and epilogue, and with statistics of its own.
    pub const fn new(eps: f32, mode: Mode) -> Normalization {
        let statistics = match mode {
            Mode::Train => Statistics::Batch,
            Mode::Eval => Statistics::Running,
        };
        Normalization { eps, statistics, epilogue: None, residual: false, partials: false }
    }

    /// Whether the batch is normalised by its own statistics.
    pub(crate) fn training(&self) -> bool {
        self.statistics != Statistics::Running
    }

    fn finds_statistics(&self) -> bool {
        self.statistics == Statistics::Batch
    }

    /// Number of the first input after the input and its statistics: the weight, if there is one.
    fn weight(&self) -> usize {
        if self.finds_statistics() { 1 + usize::from(self.partials) } else { 3 }
    }

    /// How many of `inputs` come before the residual.
    fn vectors(&self, inputs: usize) -> usize {
        inputs - usize::from(self.residual)
    }
}

impl Op for Normalization {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn pass(&self) -> &'static str {
        if self.statistics == Statistics::Found { "again" } else { "forward" }
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let input = &inputs[0].shape;
        if !matches!(input.len(), 2 | 4) {
            return Err(format!("input must be [N, C, H, W] or [N, C], it is {input}"));
        }
        let channels = input[1];
        let first = 1 + usize::from(self.partials);
        if self.partials {
            let Matrix { slabs, .. } = matrix(input);
            if !self.training() || *inputs[1].shape != [slabs, 2, channels] {
                return Err(format!(
                    "expects statistics [{slabs}, 2, {channels}] for input {input} in training, they are {}",
                    inputs[1].shape
                ));
            }
        }
        let (vectors, residual) = inputs[first..].split_at(self.vectors(inputs.len()) - first);
        if let Some(other) = vectors.iter().find(|other| *other.shape != [channels]) {
            return Err(format!(
                "expects tensors of {channels} channels for input {input}, one is {}",
                other.shape
            ));
        }
        if let Some(other) = residual.iter().find(|other| **other != inputs[0]) {
            return Err(format!(
                "residual must be {input} of {:?}, it is {} of {:?}",
                inputs[0].dtype, other.shape, other.dtype
            ));
        }
        if self.finds_statistics() && input.numel() <= channels {
            return Err(format!("expects more than 1 value per channel when training, the input is {input}"));
        }
        let statistics = if self.finds_statistics() { 3 } else { 0 };
        Ok([vec![inputs[0].clone()], vec![TensorDesc::f32([channels]); statistics]].concat())
    }

    /// y = f(z), z = w xhat + b + residual, xhat = (x - mean) invstd: dz = dy f'(z) is the residual's gradient,
    /// dw = sum dz xhat, db = sum dz, and dx = w invstd (dz - db/n - xhat dw/n) over the n elements of a channel; with
    /// constant statistics dx = w invstd dz
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        if self.statistics == Statistics::Found {
            return Ok(vec![]);
        }
        let (inputs, weight) = (b.inputs(), self.weight());
        let mut grad = b.grad_output();
        let mut epilogue = self.epilogue;
        if let Some(at_once) = epilogue.filter(|_| self.residual) {
            grad = at_once.gradient(b, grad, b.output(0))?;
            epilogue = None;
        }
        let statistics =
            if self.training() { [b.output(1), b.output(2)] } else { [b.input(1), b.input(2)] };
        let vectors = &inputs[weight..self.vectors(inputs.len())];
        let backward = NormalizationGrad { forward: Normalization { epilogue, ..*self } };
        let grads = b.apply(backward, &[&[grad, b.input(0)], &statistics[..], vectors].concat())?;
        let mut all = vec![None; weight];
        all[0] = Some(grads[0]);
        all.extend(grads[1..].iter().map(|grad| Some(*grad)));
        all.extend(self.residual.then_some(Some(grad)));
        Ok(all)
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (matrix, dtype) = (matrix(&lower.inputs[0].shape), lower.inputs[0].dtype);
        let mut statistics = [Slot::Input(1), Slot::Input(2)];
        if self.finds_statistics() {
            self.lower_statistics(lower, &matrix);
            statistics = [Slot::Output(1), Slot::Output(2)];
        }
        let [mean, spread] = statistics;
        let last = lower.inputs.len() - 1;
        let affine = self.vectors(lower.inputs.len()) > self.weight();
        let vector = |input| if affine { Slot::Input(input) } else { mean };
        let dispatch = lower
            .dispatch("batch_norm", "normalize")
            .read("input", Slot::Input(0))
            .read("residual", Slot::Input(if self.residual { last } else { 0 }))
            .read("mean", mean)
            .read("spread", spread)
            .read("weight", vector(self.weight()))
            .read("bias", vector(self.weight() + 1))
            .write("output", Slot::Output(0))
            .uniform("affine", affine)
            .uniform("has_residual", self.residual);
        self.settings(dispatch, &matrix, dtype).over((matrix.rows * matrix.columns).div_ceil(4));
    }

    fn takes_half(&self, input: usize, inputs: &[TensorDesc]) -> bool {
        input == 0 || self.residual && input == self.vectors(inputs.len())
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        inputs[0].numel() as u64 * if self.finds_statistics() { 8 } else { 4 }
    }

    fn again(&self, inputs: &[Value], outputs: &[Value]) -> Option<(Arc<dyn Op>, Vec<Value>)> {
        let Some(found) = outputs.get(1..3).filter(|_| self.finds_statistics()) else {
            return Some((Arc::new(*self), inputs.to_vec()));
        };
        let op = Normalization { statistics: Statistics::Found, partials: false, ..*self };
        Some((Arc::new(op), [&inputs[..1], found, &inputs[self.weight()..]].concat()))
    }

    cpu_kernel!(eval);
}

impl Normalization {
    /// Adds what every dispatch has.
    pub(crate) fn settings<'l, 'a>(
        &self,
        dispatch: DispatchBuilder<'l, 'a>,
        matrix: &Matrix,
        dtype: DType,
    ) -> DispatchBuilder<'l, 'a> {
        Epilogue::constants(self.epilogue, dispatch)
            .uniforms(&matrix.uniforms())
            .uniform("eps", self.eps)
            .uniform("training", self.training())
            .constant("ALIGNED", matrix.columns.is_multiple_of(4))
            .loads(dtype)
            .stores(dtype, false)
    }

    fn lower_statistics(&self, lower: &mut Lower<'_>, matrix: &Matrix) {
        let dtype = lower.inputs[0].dtype;
        let mut partials = Slot::Input(1);
        if !self.partials {
            partials = lower.scratch(matrix.partials());
            partial_statistics(lower, matrix, dtype, [Slot::Input(0), partials]);
        }
        let dispatch = lower
            .dispatch("batch_norm", "finish_statistics")
            .read("partials", partials)
            .write("new_mean", Slot::Output(1))
            .write("new_invstd", Slot::Output(2))
            .write("var_unbiased", Slot::Output(3));
        self.settings(dispatch, matrix, dtype).groups(matrix.quads());
    }

    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let matrix = matrix(inputs[0].shape());
        let (vectors, residual) = inputs.split_at(self.vectors(inputs.len()));
        let eps = T::of(f64::from(self.eps));
        let (output, statistics) = outputs.split_first_mut().expect("the shape rule gives outputs");
        let channels = match statistics {
            [mean, invstd, var_unbiased] => {
                if self.partials {
                    matrix.merge(inputs[1].real, mean.real, var_unbiased.real);
                } else {
                    matrix.statistics(context.host, inputs[0].real, mean.real, var_unbiased.real);
                }
                let (n, rest) = (T::of(matrix.rows as f64), T::of((matrix.rows - 1) as f64));
                for (invstd, squares) in invstd.real.iter_mut().zip(&mut *var_unbiased.real) {
                    *invstd = T::one() / (*squares / n + eps).sqrt();
                    *squares /= rest;
                }
                Channels::new(mean.real, invstd.real, &vectors[self.weight()..])
            }
            _ if self.training() => Channels::new(inputs[1].real, inputs[2].real, &vectors[self.weight()..]),
            _ => Channels::new(inputs[1].real, &inverted(inputs[2].real, eps), &vectors[self.weight()..]),
        };
        let residual = residual.first().map(|residual| residual.real);
        let data = Data { host: context.host, matrix: &matrix, input: inputs[0].real, epilogue: self.epilogue };
        channels.normalize(&data, residual, output.real);
    }
}

/// 1 / sqrt(variance + eps)
pub(crate) fn inverted<T: Real>(variances: &[T], eps: T) -> Vec<T> {
    variances.iter().map(|variance| T::one() / (*variance + eps).sqrt()).collect()
}

/// The input as it lies in memory.
pub(crate) fn matrix(input: &Shape) -> Matrix {
    input.as_4d().map_or_else(|| Matrix::new(input[0], input[1]), Matrix::of_images)
}

/// Adds the dispatch that finds mean and sum of squared deviations of each slab of a tensor.
pub(crate) fn partial_statistics(
    lower: &mut Lower<'_>,
    matrix: &Matrix,
    dtype: DType,
    [input, partials]: [Slot; 2],
) {
    let dispatch =
        lower.dispatch("batch_norm", "partial_statistics").read("input", input).write("new_partials", partials);
    let dispatch = Normalization::new(0.0, Mode::Train).settings(dispatch, matrix, dtype);
    dispatch.over(matrix.slabs * matrix.quads());
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: &[usize], affine: bool, op: Normalization| {
        let mut inputs = vec![(input.to_vec(), Draw::Normal)];
        if !op.finds_statistics() {
            inputs.extend([(vec![input[1]], Draw::Constant), (vec![input[1]], Draw::ConstantPositive)]);
        }
        if affine {
            inputs.extend([(vec![input[1]], Draw::Normal), (vec![input[1]], Draw::Normal)]);
        }
        if op.residual {
            inputs.push((input.to_vec(), Draw::Normal));
        }
        Sample::new(format!("batch_norm/{id}"), inputs, move |graph, values| graph.apply(op, values))
    };
    let half = |id: &str, input: &[usize], op: Normalization| {
        let inputs = vec![(input.to_vec(), Draw::Normal); 1 + usize::from(op.residual)];
        Sample::new(format!("batch_norm/f16-{id}"), inputs, move |graph, values| {
            let cast = |value: &Value| graph.apply1(Cast { dtype: DType::F16 }, &[*value]);
            let values = values.iter().map(cast).collect::<Result<Vec<Value>>>()?;
            Ok(vec![graph.apply(op, &values)?[0]])
        })
    };
    let after_conv = |id: &str, input: [usize; 4], layer: Conv2d, op: Normalization| {
        let channels = layer.out_channels;
        let weight = vec![channels, input[1] / layer.groups, layer.kernel_size.h, layer.kernel_size.w];
        let mut inputs = vec![(input.to_vec(), Draw::Normal), (weight, Draw::Normal)];
        inputs.extend([(vec![channels], Draw::Normal), (vec![channels], Draw::Normal)]);
        let op = Normalization { partials: true, ..op };
        Sample::new(format!("batch_norm/{id}"), inputs, move |graph, values| {
            let made = graph.apply(layer.convolution().with_statistics(), &values[..2])?;
            graph.apply(op, &[&made[..], &values[2..]].concat())
        })
    };
    let (train, eval) = (Normalization::new(1e-3, Mode::Train), Normalization::new(1e-3, Mode::Eval));
    let found = Normalization { statistics: Statistics::Found, ..train };
    let with = |op: Normalization, epilogue| Normalization { epilogue: Some(epilogue), ..op };
    let add = |op: Normalization| Normalization { residual: true, ..op };
    let leaky = Epilogue::LeakyRelu { negative_slope: 0.3 };
    vec![
        case("train", &[3, 5, 3, 2], true, train),
        case("train-matrix", &[7, 11], true, train),
        case("train-one-image", &[1, 3, 5, 7], true, train),
        case("train-one-channel", &[2, 1, 7, 5], true, train),
        case("train-many-slabs", &[1, 1, 33, 35], true, train),
        case("train-fours", &[2, 8, 3, 5], true, train),
        case("train-pixel-1", &[3, 5, 1, 1], true, train),
        case("train-no-affine", &[2, 3, 5, 3], false, train),
        case("train-many-channels", &[3, 67], true, train),
        case("train-relu", &[3, 5, 3, 2], true, with(train, Epilogue::Relu)),
        case("train-relu-fours", &[2, 12, 3, 3], true, with(train, Epilogue::Relu)),
        case("train-relu-no-affine", &[2, 6, 3, 3], false, with(train, Epilogue::Relu)),
        case("train-leaky-relu", &[3, 5, 3, 2], true, with(train, leaky)),
        case("train-relu6", &[3, 5, 3, 2], true, with(train, Epilogue::Relu6)),
        case("train-silu", &[3, 5, 3, 2], true, with(train, Epilogue::Silu)),
        case("train-hardswish", &[2, 4, 3, 2], true, with(train, Epilogue::Hardswish)),
        case("train-residual", &[2, 3, 3, 5], true, add(train)),
        case("train-residual-relu", &[2, 5, 3, 3], true, add(with(train, Epilogue::Relu))),
        case("train-residual-relu-fours", &[2, 4, 3, 3], false, add(with(train, Epilogue::Relu))),
        case("again", &[2, 5, 3, 2], true, found).without_gradient(),
        case("again-residual-relu", &[2, 8, 3, 2], false, add(with(found, Epilogue::Relu))).without_gradient(),
        half("relu", &[2, 8, 3, 3], with(train, Epilogue::Relu)),
        half("odd-residual-relu", &[2, 3, 3, 5], add(with(train, Epilogue::Relu))),
        half("odd-silu", &[2, 5, 3, 3], with(train, Epilogue::Silu)),
        after_conv("train-partials", [3, 3, 5, 4], Conv2d::new(8, 3).bias(false), train),
        after_conv("train-partials-relu", [2, 4, 7, 6], Conv2d::new(4, 1).bias(false), with(train, Epilogue::Relu)),
        case("eval", &[2, 5, 3, 2], true, eval),
        case("eval-one", &[1, 3, 1, 1], true, eval),
        case("eval-no-affine", &[3, 7], false, eval),
        case("eval-silu", &[2, 4, 3, 2], false, with(eval, Epilogue::Silu)),
        case("eval-residual-relu", &[2, 5, 3, 2], true, add(with(eval, Epilogue::Relu))),
    ]
}
