//! `torch.nn.Conv2d`: cross-correlation of images with filters, as an implicit GEMM.
//!
//! Letters: input `N C H W`, weight `K C/groups R S`, output `N K P Q`.

use serde::{Deserialize, Serialize};

use super::batch_norm::matrix;
use super::cast::cast;
use super::shared::convolution::Dims;
use super::shared::partials::lower_grad_bias;
use super::shared::product::{half_when_by_four, same_floats};
use super::shared::weight_sums::grad_weight;
use super::shared::convolution_host::Target;
use super::shared::{convolution_grouped, convolution_host, convolution_lower, statistics};
use super::shared::matrix::sum_rows;
use super::{Draw, Epilogue, Layer, Operator, Padding, Pair, Sample, Window, parse_layer};
use crate::error::Result;
use crate::graph::{
    Backward, Context, Graph, Init, Lower, Op, Real, TensorDesc, Value, View, ViewMut,
};
use crate::tensor::{DType, Shape};
use crate::cpu_kernel;

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "conv2d",
    summary: "2-d convolution with stride, padding, dilation and groups (torch.nn.Conv2d)",
    shader: shader!("conv2d", GEMM, CONV2D_GRADIENTS, CONV2D_DIRECT, CONV2D_GROUPED, SLABS, GRAD_BIAS, EPILOGUE, SPECIAL),
    layer: Some(parse_layer::<Conv2d>),
    samples,
};

/// The layer; arguments and defaults are those of `torch.nn.Conv2d`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// Number of filters, K.
    pub out_channels: usize,
    /// Height and width of a filter.
    pub kernel_size: Pair,
    /// Steps between windows.
    #[serde(default = "Pair::one")]
    pub stride: Pair,
    /// Zeros around the image: on both sides, `[h, w]`, `[top, left, bottom, right]`, or `"same"`.
    #[serde(default = "no_padding")]
    pub padding: Padding,
    /// Distance between a filter's elements.
    #[serde(default = "Pair::one")]
    pub dilation: Pair,
    /// Blocks of channels that are convolved separately.
    #[serde(default = "one")]
    pub groups: usize,
    /// Whether to add a number per filter.
    #[serde(default = "yes")]
    pub bias: bool,
    /// How the weight starts.
    #[serde(default = "default_init")]
    pub init: Init,
}

fn no_padding() -> Padding {
    Padding::Explicit(Pair::zero())
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

fn default_init() -> Init {
    Init::Default
}

impl Conv2d {
    /// Filters of `kernel_size`, stride 1, no padding, with bias.
    pub fn new(out_channels: usize, kernel_size: impl Into<Pair>) -> Conv2d {
        let kernel_size = kernel_size.into();
        Conv2d {
            out_channels,
            kernel_size,
            stride: Pair::one(),
            padding: no_padding(),
            dilation: Pair::one(),
            groups: 1,
            bias: true,
            init: Init::Default,
        }
    }

    /// The same with a stride.
    pub fn stride(self, stride: impl Into<Pair>) -> Conv2d {
        Conv2d { stride: stride.into(), ..self }
    }

    /// The same with as many zeros on both sides.
    pub fn padding(self, padding: impl Into<Pair>) -> Conv2d {
        Conv2d { padding: Padding::Explicit(padding.into()), ..self }
    }

    /// The same with a dilation.
    pub fn dilation(self, dilation: impl Into<Pair>) -> Conv2d {
        Conv2d { dilation: dilation.into(), ..self }
    }

    /// The same with groups.
    pub fn groups(self, groups: usize) -> Conv2d {
        Conv2d { groups, ..self }
    }

    /// The same with or without bias.
    pub fn bias(self, bias: bool) -> Conv2d {
        Conv2d { bias, ..self }
    }

    /// The convolution's window and groups.
    pub(crate) fn convolution(&self) -> Convolution {
        let Conv2d { kernel_size, stride, dilation, groups, .. } = *self;
        let same = |kernel: usize, dilation: usize| (dilation * kernel.saturating_sub(1)) / 2;
        let rest = |kernel: usize, dilation: usize| (dilation * kernel.saturating_sub(1)).div_ceil(2);
        let (padding, padding_end) = match self.padding {
            Padding::Explicit(padding) => (padding, padding),
            Padding::Sides([top, left, bottom, right]) => ([top, left].into(), [bottom, right].into()),
            Padding::Named(_) => (
                Pair { h: same(kernel_size.h, dilation.h), w: same(kernel_size.w, dilation.w) },
                Pair { h: rest(kernel_size.h, dilation.h), w: rest(kernel_size.w, dilation.w) },
            ),
        };
        let window = Window { kernel: kernel_size, stride, padding, padding_end, dilation };
        let same_stride = matches!(self.padding, Padding::Named(_)) && stride != Pair::one();
        Convolution { window, groups, epilogue: None, statistics: false, same_stride }
    }
}

impl Layer for Conv2d {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let channels = graph.shape(input).get(1).copied().unwrap_or(1);
        let convolution = self.convolution();
        let per_group = channels / self.groups.max(1);
        let shape = [self.out_channels, per_group, self.kernel_size.h, self.kernel_size.w];
        let weight = graph.parameter("weight", shape, self.init)?;
        if !self.bias {
            return graph.apply1(convolution, &[input, weight]);
        }
        let fan_in = per_group * self.kernel_size.h * self.kernel_size.w;
        let bound = Init::Uniform(1.0 / (fan_in.max(1) as f32).sqrt());
        let bias = graph.parameter("bias", [self.out_channels], bound)?;
        graph.apply1(convolution, &[input, weight, bias])
    }
}

/// The operator: `(input, weight[, bias]) -> output`, or `-> output, partials` with the statistics that `batch_norm` takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Convolution {
    /// The sliding window.
    pub window: Window,
    /// Blocks of channels.
    pub groups: usize,
    /// What is applied to the result.
    pub epilogue: Option<Epilogue>,
    /// Whether the second output is mean and sum of squared deviations of each channel in runs of pixels.
    pub statistics: bool,
    same_stride: bool,
}

impl Op for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let [input, weight] = [&inputs[0].shape, &inputs[1].shape];
        let Some([n, c, h, w]) = input.as_4d() else {
            return Err(format!("input must be [N, C, H, W], it is {input}"));
        };
        let Some([k, per_group, r, s]) = weight.as_4d() else {
            return Err(format!("weight must be [K, C/groups, R, S], it is {weight}"));
        };
        let groups = self.groups;
        if groups == 0 || c % groups != 0 || k % groups != 0 {
            return Err(format!("groups {groups} must divide the {c} input channels ({input}) and the {k} filters"));
        }
        if c != per_group * groups {
            let expected = per_group * groups;
            return Err(format!("weight {weight} expects {expected} input channels, input has {c} ({input})"));
        }
        if self.same_stride {
            return Err("padding = \"same\" needs stride 1".to_string());
        }
        if [r, s] != [self.window.kernel.h, self.window.kernel.w] {
            return Err(format!("weight {weight} does not have the window {:?}", self.window.kernel));
        }
        if let Some(bias) = inputs.get(2).filter(|bias| *bias.shape != [k]) {
            return Err(format!("bias must be [{k}], it is {}", bias.shape));
        }
        let [p, q] = self.window.output(h, w).map_err(|reason| format!("{reason} ({input})"))?;
        same_floats(&inputs[0], &inputs[1])?;
        let mut outputs = vec![half_when_by_four(inputs[0].dtype, [n, k, p, q], k)];
        if self.statistics {
            outputs.push(statistics::infer(&outputs[0], self.epilogue.is_some())?);
        }
        Ok(outputs)
    }

    /// dX = dY * W over the taps, dW = dY^T im2col(X), db = sum dY
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (input, weight) = (b.input(0), b.input(1));
        let (input_desc, weight_desc) = (b.desc(input), b.desc(weight));
        let grad_output = Epilogue::undone(self.epilogue, b)?;
        let grad = cast(b, grad_output, input_desc.dtype)?;
        let pass = |pass, shape| ConvolutionGrad { forward: *self, pass, shape };
        // The weight's comes first: after it nobody needs the input.
        let grad_weight = b.when_needed(1, pass(Pass::Weight, weight_desc.shape), &[grad, input])?;
        let mut grads = vec![b.when_needed(0, pass(Pass::Input, input_desc.shape), &[grad, weight])?, grad_weight];
        if b.inputs().len() == 3 {
            let bias_shape = b.desc(b.input(2)).shape;
            grads.push(b.when_needed(2, pass(Pass::Bias, bias_shape), &[grad_output])?);
        }
        Ok(grads)
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let dims = Dims::new(self, &lower.inputs[0].shape, &lower.inputs[1].shape);
        if dims.direct() {
            convolution_grouped::forward(lower, &dims, self.epilogue);
        } else {
            convolution_lower::forward(lower, &dims, self.epilogue);
        }
        if self.statistics {
            statistics::lower(lower);
        }
    }

    fn makes_half(&self, _: usize) -> bool {
        !self.statistics
    }

    fn takes_half(&self, input: usize, _: &[TensorDesc]) -> bool {
        input < 2 && !self.statistics
    }

    fn flops(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        2 * outputs[0].numel() as u64 * inputs[1].shape[1..].iter().product::<usize>() as u64
    }

    cpu_kernel!(eval);
}

impl Convolution {
    /// The same with partial statistics as a second output.
    pub(crate) fn with_statistics(self) -> Convolution {
        Convolution { statistics: true, ..self }
    }

    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let dims = Dims::new(self, inputs[0].shape(), inputs[1].shape());
        let bias = inputs.get(2).map(|bias| bias.real);
        let (output, partials) = outputs.split_first_mut().expect("the shape rule gives outputs");
        let statistics = partials.first_mut().map(|to| (&mut *to.real, matrix(&output.desc.shape).slab_len));
        let target = Target { pixels: output.real, statistics };
        convolution_host::forward(&dims, context.host, inputs[0].real, inputs[1].real, bias, target);
        if let Some(epilogue) = self.epilogue {
            epilogue.apply_to_all(context.host, outputs[0].real);
        }
    }
}

/// Which gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pass {
    Input,
    Weight,
    Bias,
}

/// The gradients: `(grad_output, weight) -> grad_input`, `(grad_output, input) -> grad_weight`,
/// `(grad_output) -> grad_bias`.
#[derive(Clone, Debug, PartialEq)]
struct ConvolutionGrad {
    forward: Convolution,
    pass: Pass,
    shape: Shape,
}

impl Op for ConvolutionGrad {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn pass(&self) -> &'static str {
        match self.pass {
            Pass::Input => "grad_input",
            Pass::Weight => "grad_weight",
            Pass::Bias => "grad_bias",
        }
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let channels = self.shape.get(1).copied().unwrap_or(1);
        let dtype = if self.pass == Pass::Input { inputs[0].dtype } else { DType::F32 };
        Ok(vec![half_when_by_four(dtype, self.shape.clone(), channels)])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        if self.pass == Pass::Bias {
            return lower_grad_bias(lower, "conv2d", self.shape.numel());
        }
        let dims = self.dims(&[&lower.inputs[0].shape, &lower.inputs[1].shape]);
        match (self.pass, dims.direct()) {
            (Pass::Input, true) => convolution_grouped::grad_input(lower, &dims),
            (Pass::Input, false) => convolution_lower::grad_input(lower, &dims),
            (_, true) => convolution_grouped::grad_weight(lower, &dims),
            (_, false) => convolution_lower::grad_weight(lower, &dims),
        }
    }

    fn makes_half(&self, _: usize) -> bool {
        self.pass == Pass::Input
    }

    fn takes_half(&self, _: usize, _: &[TensorDesc]) -> bool {
        true
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        let weight = if self.pass == Pass::Input { &inputs[1].shape } else { &self.shape };
        match self.pass {
            Pass::Bias => inputs[0].numel() as u64,
            _ => 2 * inputs[0].numel() as u64 * weight[1..].iter().product::<usize>() as u64,
        }
    }

    cpu_kernel!(eval);
}

impl ConvolutionGrad {
    fn dims(&self, inputs: &[&Shape]) -> Dims {
        match self.pass {
            Pass::Input => Dims::new(&self.forward, &self.shape, inputs[1]),
            _ => Dims::new(&self.forward, inputs[1], &self.shape),
        }
    }

    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let (host, grad, output) = (context.host, inputs[0].real, &mut *outputs[0].real);
        if self.pass == Pass::Bias {
            return sum_rows(host, grad, self.shape.numel(), output);
        }
        let dims = self.dims(&[inputs[0].shape(), inputs[1].shape()]);
        match self.pass {
            Pass::Input => convolution_host::grad_input(&dims, host, grad, inputs[1].real, output),
            _ => grad_weight(&dims, host, grad, inputs[1].real, output),
        }
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: [usize; 4], layer: Conv2d| {
        let per_group = input[1] / layer.groups;
        let weight = vec![layer.out_channels, per_group, layer.kernel_size.h, layer.kernel_size.w];
        let mut inputs = vec![(input.to_vec(), Draw::Normal), (weight, Draw::Normal)];
        if layer.bias {
            inputs.push((vec![layer.out_channels], Draw::Normal));
        }
        // A sample's name says what its epilogue is.
        let leaky = Epilogue::LeakyRelu { negative_slope: 0.3 };
        let epilogue = [("relu", Epilogue::Relu), ("leaky", leaky)].into_iter().find(|(name, _)| id.starts_with(name));
        let op = Convolution { epilogue: epilogue.map(|(_, epilogue)| epilogue), ..layer.convolution() };
        let op = if id.starts_with("statistics") { op.with_statistics() } else { op };
        Sample::new(format!("conv2d/{id}"), inputs, move |graph, values| graph.apply(op, values))
    };
    let sides = |zeros, layer: Conv2d| Conv2d { padding: Padding::Sides(zeros), ..layer };
    let half = |id: &str, input, layer: Conv2d| {
        let sample = case(id, input, layer);
        sample.with_half([0, 1])
    };
    vec![
        case("basic", [2, 3, 7, 5], Conv2d::new(5, 3)),
        case("relu", [2, 3, 7, 5], Conv2d::new(5, 3)),
        case("leaky-by-four", [2, 4, 5, 5], Conv2d::new(8, 3).padding(1).bias(false)),
        case("relu-depthwise", [2, 8, 5, 5], Conv2d::new(8, 3).padding(1).groups(8)),
        case("batch-1-pixel-1", [1, 1, 1, 1], Conv2d::new(1, 1)),
        case("statistics", [3, 3, 9, 7], Conv2d::new(8, 3).stride([2, 1]).padding(1)),
        case("statistics-pointwise", [5, 4, 3, 3], Conv2d::new(12, 1).bias(false)),
        case("statistics-depthwise", [2, 8, 7, 11], Conv2d::new(8, 3).groups(8).padding(1).bias(false)),
        case("statistics-many-rows", [3, 4, 26, 27], Conv2d::new(4, 3).padding(1).bias(false)),
        case("pointwise", [3, 7, 4, 3], Conv2d::new(9, 1).bias(false)),
        case("padding", [2, 3, 5, 6], Conv2d::new(4, 3).padding(1).bias(false)),
        case("asymmetric", [2, 2, 9, 7], Conv2d::new(3, [3, 2]).stride([2, 1]).padding([0, 2]).dilation([1, 3])),
        case("stride-above-kernel", [1, 2, 8, 9], Conv2d::new(3, 2).stride(3)),
        case("same-even-kernel", [2, 2, 5, 6], Conv2d {
            padding: Padding::Named(super::shared::window::Same::Same),
            ..Conv2d::new(3, [4, 2]).dilation([1, 2])
        }),
        case("sides", [2, 3, 6, 5], sides([0, 2, 3, 1], Conv2d::new(4, 3).stride(2))),
        case("sides-by-four", [1, 4, 8, 7], sides([0, 0, 1, 2], Conv2d::new(8, 3).stride([2, 3]).dilation([1, 2]))),
        case("sides-depthwise", [2, 8, 7, 6], sides([1, 0, 2, 1], Conv2d::new(8, 3).stride(2).groups(8))),
        case("groups", [2, 6, 5, 4], Conv2d::new(9, 3).groups(3).padding(1)),
        case("depthwise", [2, 5, 6, 5], Conv2d::new(5, 3).groups(5).padding(1).bias(false)),
        case("depthwise-multiplier", [2, 3, 6, 5], Conv2d::new(6, 3).groups(3).stride(2).padding(1)),
        case("several-tiles", [3, 5, 13, 11], Conv2d::new(37, 3).padding(1).bias(false)),
        case("large-tiles", [2, 7, 13, 11], Conv2d::new(67, 3).padding(1).stride([1, 2])),
        case("by-four", [2, 8, 7, 5], Conv2d::new(12, 3).padding(1)),
        case("by-four-stride-2", [2, 8, 9, 7], Conv2d::new(16, 3).padding(1).stride(2).bias(false)),
        case("from-four-to-six", [2, 4, 6, 5], Conv2d::new(6, 3).padding(1).stride(2)),
        case("from-six-to-four", [2, 6, 5, 6], Conv2d::new(4, 3).padding(1)),
        case("one-channel-by-five", [2, 1, 12, 11], Conv2d::new(8, 5)),
        case("phases-with-dilation", [1, 4, 13, 11], Conv2d::new(8, 3).padding(2).stride(3).dilation(2)),
        case("phases-without-taps", [2, 3, 11, 10], Conv2d::new(4, 3).stride([2, 3]).dilation([2, 3])),
        case("fewer-pixels-than-phases", [3, 4, 1, 2], Conv2d::new(4, 3).padding(1).stride(3).bias(false)),
        case("pointwise-stride", [2, 8, 5, 6], Conv2d::new(20, 1).stride(2).bias(false)),
        case("pointwise-by-four", [2, 32, 5, 3], Conv2d::new(16, 1)),
        case("pointwise-padding", [1, 4, 3, 3], Conv2d::new(4, 1).padding(1)),
        case("many-rows", [3, 4, 13, 15], Conv2d::new(8, 3).padding(1).bias(false)),
        case("many-channels", [1, 67, 2, 3], Conv2d::new(16, 3).padding(1).bias(false)),
        case("wide", [1, 4, 3, 3], Conv2d::new(132, 3).padding(1).bias(false)),
        case("groups-by-four", [2, 8, 5, 4], Conv2d::new(8, 3).groups(2).padding(1)),
        case("groups-stride-2", [1, 12, 7, 6], Conv2d::new(8, 3).groups(4).padding(1).stride(2).bias(false)),
        case("groups-of-sixteen", [1, 32, 2, 3], Conv2d::new(48, 3).groups(2).padding(1)),
        case("depthwise-by-four", [2, 8, 7, 9], Conv2d::new(8, 3).groups(8).padding(1)),
        case("depthwise-stride-2", [2, 4, 9, 8], Conv2d::new(4, 3).groups(4).padding(1).stride(2).bias(false)),
        case("depthwise-dilation", [1, 8, 8, 9], Conv2d::new(8, [3, 2]).groups(8).padding(2).dilation([2, 3])),
        case("depthwise-many-pixels", [3, 4, 13, 11], Conv2d::new(4, 5).groups(4).padding(2).stride([1, 3])),
        case("depthwise-multiplier-by-four", [2, 4, 5, 6], Conv2d::new(16, 3).groups(4).padding(1).bias(false)),
        half("half-depthwise", [2, 8, 6, 5], Conv2d::new(8, 3).groups(8).padding(1)),
        half("half-groups", [2, 8, 6, 5], Conv2d::new(12, 3).groups(4).padding(1).stride(2)),
        half("half", [2, 8, 6, 5], Conv2d::new(12, 3).padding(1).stride(2)),
        half("half-three-channels", [2, 3, 6, 5], Conv2d::new(6, 3).padding(1)),
    ]
}
