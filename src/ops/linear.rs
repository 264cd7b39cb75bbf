//! `torch.nn.Linear`: y = x W^T + b over the last dimension, or over the channels of images, which are innermost in
//! memory.

use serde::{Deserialize, Serialize};

use super::shared::matrix::sum_rows;
use super::shared::partials::lower_grad_bias;
use super::shared::product::{Product, half_when_by_four, same_floats};
use super::cast::cast;
use super::{Draw, Epilogue, Layer, Operator, Sample, parse_layer};
use crate::cpu_kernel;
use crate::error::{Error, Result};
use crate::graph::{Backward, Context, Graph, Init, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};
use crate::tensor::{DType, Layout, Shape};

/// The registry's line.
pub const OPERATOR: Operator = Operator {
    name: "linear",
    summary: "x W^T + b over the last dimension (torch.nn.Linear)",
    shader: shader!("linear", GEMM, PRODUCT, SLABS, GRAD_BIAS, EPILOGUE, SPECIAL),
    layer: Some(parse_layer::<Linear>),
    samples,
};

/// The layer; arguments and defaults are those of `torch.nn.Linear`, `in_features` is inferred.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Size of the output's last dimension.
    pub out_features: usize,
    /// Whether to add a number per feature.
    #[serde(default = "yes")]
    pub bias: bool,
    /// How the weight starts.
    #[serde(default = "default_init")]
    pub init: Init,
    /// The dimension of the features: `last` as in PyTorch, or `channels` of `[N, C, H, W]`, which is what `Permute`,
    /// `Linear`, `Permute` give.
    #[serde(default)]
    pub dim: Dim,
}

/// Over which dimension [`Linear`] goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dim {
    /// The last.
    #[default]
    Last,
    /// The second of four.
    Channels,
}

fn yes() -> bool {
    true
}

fn default_init() -> Init {
    Init::Default
}

impl Linear {
    /// With bias and PyTorch's initialisation.
    pub fn new(out_features: usize) -> Linear {
        Linear { out_features, bias: true, init: Init::Default, dim: Dim::Last }
    }

    /// The same with or without bias.
    pub fn bias(self, bias: bool) -> Linear {
        Linear { bias, ..self }
    }

    /// The same over another dimension.
    pub fn dim(self, dim: Dim) -> Linear {
        Linear { dim, ..self }
    }
}

impl Layer for Linear {
    fn build(&self, graph: &mut Graph, input: Value) -> Result<Value> {
        let shape = graph.shape(input);
        if (self.dim == Dim::Channels) != (shape.len() == 4) {
            let message = match self.dim {
                Dim::Last => format!(
                    "input must be [N, in] or [N, T, in], it is {shape}; put a flatten layer before it, or say \
                     dim = \"channels\""
                ),
                Dim::Channels => format!("over the channels, input must be [N, C, H, W], it is {shape}"),
            };
            return Err(Error::Shape { op: "linear", node: graph.scope_name(), message });
        }
        let in_features = Layout::innermost(shape);
        let weight = graph.parameter("weight", [self.out_features, in_features], self.init)?;
        if !self.bias {
            return graph.apply1(Affine::default(), &[input, weight]);
        }
        let bound = Init::Uniform(1.0 / (in_features.max(1) as f32).sqrt());
        let bias = graph.parameter("bias", [self.out_features], bound)?;
        graph.apply1(Affine::default(), &[input, weight, bias])
    }
}

/// The operator: `(input [.., in], weight [out, in][, bias [out]]) -> output [.., out]`, or over the channels
/// `(input [N, in, H, W], ..) -> output [N, out, H, W]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Affine {
    /// What is applied to the result.
    pub epilogue: Option<Epilogue>,
}

impl Op for Affine {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let [input, weight] = [&inputs[0].shape, &inputs[1].shape];
        let Some([out_features, in_features]) = weight.as_2d() else {
            return Err(format!("weight must be [out, in], it is {weight}"));
        };
        if !matches!(input.len(), 2..=4) {
            return Err(format!("input must be [N, in] or [N, T, in], it is {input}"));
        }
        if Layout::innermost(input) != in_features {
            return Err(format!(
                "weight {weight} expects {in_features} input features, the input is {input}"
            ));
        }
        if in_features == 0 {
            return Err(format!("needs at least one input feature, the input is {input}"));
        }
        if let Some(bias) = inputs.get(2).filter(|bias| *bias.shape != [out_features]) {
            return Err(format!("bias must be [{out_features}], it is {}", bias.shape));
        }
        same_floats(&inputs[0], &inputs[1])?;
        let mut output = input.to_vec();
        output[if input.len() == 4 { 1 } else { input.len() - 1 }] = out_features;
        Ok(vec![half_when_by_four(inputs[0].dtype, output, out_features)])
    }

    /// dX = dY W, dW = dY^T X, db = sum dY
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (input, weight) = (b.input(0), b.input(1));
        let (input_desc, weight_desc) = (b.desc(input), b.desc(weight));
        let grad_output = Epilogue::undone(self.epilogue, b)?;
        let grad = cast(b, grad_output, input_desc.dtype)?;
        let pass = |pass, shape| AffineGrad { pass, shape };
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
        let bias = lower.inputs.get(2).map(|_| Slot::Input(2));
        let product = forward_product(&lower.inputs[0].shape, &lower.inputs[1].shape);
        let names = ("linear", "linear.forward");
        product.lower(lower, names, [Slot::Input(0), Slot::Input(1)], bias, self.epilogue);
    }

    fn makes_half(&self, _: usize) -> bool {
        true
    }

    fn takes_half(&self, input: usize, _: &[TensorDesc]) -> bool {
        input < 2
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        forward_product(&inputs[0].shape, &inputs[1].shape).flops()
    }

    cpu_kernel!(eval);
}

impl Affine {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let product = forward_product(inputs[0].shape(), inputs[1].shape());
        let output = &mut *outputs[0].real;
        product.eval(context.host, inputs[0].real, inputs[1].real, output);
        if let Some(bias) = inputs.get(2) {
            for row in output.chunks_exact_mut(product.n) {
                row.iter_mut().zip(bias.real).for_each(|(y, b)| *y += *b);
            }
        }
        if let Some(epilogue) = self.epilogue {
            epilogue.apply_to_all(context.host, output);
        }
    }
}

/// `[N, in] [out, in]^T`, where N counts the rows of all leading dimensions.
fn forward_product(input: &Shape, weight: &Shape) -> Product {
    let [out_features, in_features] = weight.as_2d().expect("the shape rule has checked the rank");
    Product::new([input.numel() / in_features, in_features, out_features], false, true)
}

/// Which gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pass {
    Input,
    Weight,
    Bias,
}

/// The gradients: `(grad_output, weight) -> grad_input`, `(grad_output, input) -> grad_weight`,
/// `(grad_output) -> grad_bias`; each of `shape`.
#[derive(Clone, Debug, PartialEq)]
struct AffineGrad {
    pass: Pass,
    shape: Shape,
}

impl Op for AffineGrad {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn pass(&self) -> &'static str {
        match self.pass {
            Pass::Input => "grad_input",
            Pass::Weight => "grad_weight",
            Pass::Bias => "grad_bias",
        }
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let features = Layout::innermost(&self.shape);
        let dtype = if self.pass == Pass::Input { inputs[0].dtype } else { DType::F32 };
        Ok(vec![half_when_by_four(dtype, self.shape.clone(), features)])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        if self.pass == Pass::Bias {
            return lower_grad_bias(lower, "linear", self.shape.numel());
        }
        let product = self.product(&lower.inputs[0].shape);
        let family = if self.pass == Pass::Input { "linear.grad_input" } else { "linear.grad_weight" };
        product.lower(lower, ("linear", family), [Slot::Input(0), Slot::Input(1)], None, None);
    }

    fn makes_half(&self, _: usize) -> bool {
        self.pass == Pass::Input
    }

    fn takes_half(&self, _: usize, _: &[TensorDesc]) -> bool {
        true
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        match self.pass {
            Pass::Bias => inputs[0].numel() as u64,
            _ => self.product(&inputs[0].shape).flops(),
        }
    }

    cpu_kernel!(eval);
}

impl AffineGrad {
    /// The product that gives the gradient of the input or of the weight.
    fn product(&self, grad_output: &Shape) -> Product {
        let [out_features, in_features] = [grad_output, &self.shape].map(Layout::innermost);
        let rows = grad_output.numel() / out_features;
        match self.pass {
            Pass::Weight => Product::new([out_features, rows, in_features], true, false),
            _ => Product::new([rows, out_features, in_features], false, false),
        }
    }

    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let output = &mut *outputs[0].real;
        match self.pass {
            Pass::Bias => sum_rows(context.host, inputs[0].real, self.shape.numel(), output),
            _ => {
                let product = self.product(inputs[0].shape());
                product.eval(context.host, inputs[0].real, inputs[1].real, output);
            }
        }
    }
}

fn samples() -> Vec<Sample> {
    let case = |id: &str, input: &[usize], layer: Linear| {
        let in_features = Layout::innermost(&input.into());
        let mut inputs =
            vec![(input.to_vec(), Draw::Normal), (vec![layer.out_features, in_features], Draw::Normal)];
        if layer.bias {
            inputs.push((vec![layer.out_features], Draw::Normal));
        }
        let op = Affine { epilogue: id.starts_with("relu").then_some(Epilogue::Relu) };
        Sample::new(format!("linear/{id}"), inputs, move |graph, values| graph.apply(op, values))
    };
    vec![
        case("basic", &[5, 7], Linear::new(3)),
        case("relu", &[5, 7], Linear::new(3)),
        case("relu-split-sum", &[2, 260], Linear::new(4)),
        case("one", &[1, 1], Linear::new(1)),
        case("no-bias", &[3, 11], Linear::new(17).bias(false)),
        case("tokens", &[2, 5, 3], Linear::new(7)),
        case("channels", &[2, 5, 3, 1], Linear::new(7)),
        case("channels-by-four", &[2, 8, 3, 5], Linear::new(12)),
        case("split-sum", &[2, 197], Linear::new(1)),
        case("many-rows", &[149, 2], Linear::new(3)),
        case("several-tiles", &[37, 5], Linear::new(39)),
        case("by-four", &[7, 12], Linear::new(8)),
        case("by-four-to-ten", &[9, 36], Linear::new(10)),
        case("split-sum-by-four", &[5, 260], Linear::new(12)),
        case("many-rows-by-four", &[137, 4], Linear::new(4)),
        case("half", &[6, 20], Linear::new(8)).with_half([0, 1]),
        case("half-to-ten", &[6, 20], Linear::new(10)).with_half([0, 1]),
    ]
}
