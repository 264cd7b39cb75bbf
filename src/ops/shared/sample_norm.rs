//! What `layer_norm`, `layer_norm2d`, `group_norm` and `instance_norm` have in common: each names the sets of elements
//! that it normalises over, all within one sample. Bindings and entry points are in `shaders/shared/sample_norm.wgsl`,
//! the CPU kernels in `sample_norm_host.rs`.

use super::matrix::Matrix;
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{Backward, Context, Graph, Init, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut};
use crate::tensor::{DType, Shape};

/// A norm over sets of elements of one sample.
pub trait SampleNorm: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The operator's stem.
    const NAME: &'static str;

    /// Added to the variance.
    fn eps(&self) -> f32;

    /// Whether it has a weight, and whether it has a bias.
    fn affine(&self) -> [bool; 2];

    /// The sets of an input, or why there are none.
    fn sets(&self, input: &Shape) -> Result<Sets, String>;
}

/// An input as it lies in memory, samples x pixels x channels, and the sets in it: all pixels of `channels / groups`
/// neighbouring channels of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sets {
    /// Parts that are normalised apart from each other.
    pub samples: usize,
    /// Pixels of a sample.
    pub pixels: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Sets of a sample.
    pub groups: usize,
    /// Shape of weight and bias: one element for each channel, or in the order C, H, W for each element of a sample.
    pub parameters: Shape,
}

impl Sets {
    /// Number of sets.
    pub(crate) fn count(&self) -> usize {
        self.samples * self.groups
    }

    /// Elements of a set.
    pub(crate) fn len(&self) -> usize {
        self.pixels * self.channels / self.groups
    }

    /// Whether four neighbours in memory belong to one set.
    fn fours(&self) -> bool {
        (self.channels / self.groups).is_multiple_of(4)
    }

    /// The matrix over whose rows the gradients of weight and bias are sums: a column for each parameter.
    pub(crate) fn matrix(&self) -> Matrix {
        let columns = self.parameters.numel();
        Matrix::new(self.samples * self.pixels * self.channels / columns, columns)
    }

    fn uniforms(&self) -> [(&'static str, usize); 5] {
        [
            ("sets", self.count()),
            ("set_len", self.len()),
            ("pixels", self.pixels),
            ("channels", self.channels),
            ("groups", self.groups),
        ]
    }
}

/// Applies a norm in the graph's scope, with new parameters.
pub(crate) fn build<N: SampleNorm>(norm: &N, graph: &mut Graph, input: Value) -> Result<Value> {
    let mut inputs = vec![input];
    if let Ok(sets) = norm.sets(graph.shape(input)) {
        let [weight, bias] = norm.affine();
        if weight {
            inputs.push(graph.parameter("weight", sets.parameters.clone(), Init::Constant(1.0))?);
        }
        if bias {
            inputs.push(graph.parameter("bias", sets.parameters, Init::Constant(0.0))?);
        }
    }
    Ok(graph.apply(Forward::new(norm.clone()), &inputs)?[0])
}

/// The operator of a norm: `(input[, weight[, bias]]) -> output, mean, invstd`, the statistics of shape
/// `[samples, groups]`.
#[derive(Clone, Debug)]
pub struct Forward<N>(pub(crate) N);

impl<N: SampleNorm> Forward<N> {
    /// The operator of a norm.
    pub fn new(norm: N) -> Forward<N> {
        Forward(norm)
    }
}

/// Its gradient: `(grad_output, input, mean, invstd[, weight]) -> grad_input`.
#[derive(Clone, Debug)]
struct GradInput<N>(N);

/// Its gradients: `(grad_output, input, mean, invstd) -> grad_weight, grad_bias`.
#[derive(Clone, Debug)]
struct GradParameters<N>(N);

fn takes_half<N: SampleNorm>(norm: &N, input: &Shape) -> bool {
    norm.sets(input).is_ok_and(|sets| sets.fours())
}

fn checked<N: SampleNorm>(norm: &N, input: &Shape) -> Sets {
    norm.sets(input).expect("the shape rule has checked the input")
}

impl<N: SampleNorm> Op for Forward<N> {
    fn name(&self) -> &'static str {
        N::NAME
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let sets = self.0.sets(&inputs[0].shape)?;
        if let Some(other) = inputs[1..].iter().find(|other| other.shape != sets.parameters) {
            let (input, wanted) = (&inputs[0].shape, &sets.parameters);
            return Err(format!(
                "weight and bias must be {wanted} for input {input}, one is {}",
                other.shape
            ));
        }
        let statistic = TensorDesc::f32([sets.samples, sets.groups]);
        Ok(vec![inputs[0].clone(), statistic.clone(), statistic])
    }

    /// xhat = (x - mean) invstd and g = dy w: dx = invstd (g - mean(g) - xhat mean(g xhat)) with the means over a set,
    /// dw = sum dy xhat, db = sum dy
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let mut inputs = vec![b.grad_output(), b.input(0), b.output(1), b.output(2)];
        let parameters = b.inputs().len() - 1;
        let mut grads = vec![];
        if (0..parameters).any(|i| b.needs(1 + i)) {
            grads = b.apply(GradParameters(self.0.clone()), &inputs)?;
        }
        inputs.extend(b.inputs().get(1));
        let grad_input = b.when_needed(0, GradInput(self.0.clone()), &inputs)?;
        let parameter_grads = (0..parameters).map(|i| grads.get(i).copied());
        Ok([grad_input].into_iter().chain(parameter_grads).collect())
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let sets = checked(&self.0, &lower.inputs[0].shape);
        let (given, input, output) = (lower.inputs.len(), lower.inputs[0].dtype, lower.outputs[0].dtype);
        let input_or_first = |i: usize| if i < given { Slot::Input(i) } else { Slot::Input(0) };
        lower
            .dispatch(N::NAME, "forward")
            .read("input", Slot::Input(0))
            .read("weight", input_or_first(1))
            .read("bias", input_or_first(2))
            .write("output", Slot::Output(0))
            .write("new_mean", Slot::Output(1))
            .write("new_invstd", Slot::Output(2))
            .uniforms(&sets.uniforms())
            .uniform("eps", self.0.eps())
            .uniform("has_weight", given > 1)
            .uniform("has_bias", given > 2)
            .lanes(input, output, sets.fours())
            .groups(sets.count());
    }

    fn takes_half(&self, input: usize, inputs: &[TensorDesc]) -> bool {
        input == 0 && takes_half(&self.0, &inputs[0].shape)
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        inputs[0].numel() as u64 * 8
    }

    cpu_kernel!(eval);
}

impl<N: SampleNorm> Forward<N> {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let sets = checked(&self.0, inputs[0].shape());
        sets.forward(context.host, T::of(f64::from(self.0.eps())), inputs, outputs);
    }
}

impl<N: SampleNorm> Op for GradInput<N> {
    fn name(&self) -> &'static str {
        N::NAME
    }

    fn pass(&self) -> &'static str {
        "grad_input"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![inputs[1].clone()])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let sets = checked(&self.0, &lower.inputs[1].shape);
        let (has_weight, input, output) =
            (lower.inputs.len() > 4, lower.inputs[1].dtype, lower.outputs[0].dtype);
        lower
            .dispatch(N::NAME, "grad_input")
            .read("grad_output", Slot::Input(0))
            .read("input", Slot::Input(1))
            .read("mean", Slot::Input(2))
            .read("invstd", Slot::Input(3))
            .read("weight", Slot::Input(if has_weight { 4 } else { 0 }))
            .write("output", Slot::Output(0))
            .uniforms(&sets.uniforms())
            .uniform("has_weight", has_weight)
            .lanes(input, output, sets.fours())
            .groups(sets.count());
    }

    fn takes_half(&self, input: usize, inputs: &[TensorDesc]) -> bool {
        input < 2 && takes_half(&self.0, &inputs[1].shape)
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        inputs[1].numel() as u64 * 12
    }

    cpu_kernel!(eval);
}

impl<N: SampleNorm> GradInput<N> {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        checked(&self.0, inputs[1].shape()).grad_input(context.host, inputs, outputs[0].real);
    }
}

impl<N: SampleNorm> Op for GradParameters<N> {
    fn name(&self) -> &'static str {
        N::NAME
    }

    fn pass(&self) -> &'static str {
        "grad_weight"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let parameters = self.0.sets(&inputs[1].shape)?.parameters;
        Ok(vec![TensorDesc::f32(parameters); 2])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let sets = checked(&self.0, &lower.inputs[1].shape);
        let (matrix, input) = (sets.matrix(), lower.inputs[1].dtype);
        let partials = lower.scratch(2 * matrix.slabs * matrix.columns);
        lower
            .dispatch(N::NAME, "partial_parameters")
            .read("grad_output", Slot::Input(0))
            .read("input", Slot::Input(1))
            .read("mean", Slot::Input(2))
            .read("invstd", Slot::Input(3))
            .write("new_partials", partials)
            .uniforms(&sets.uniforms())
            .uniforms(&matrix.uniforms())
            .uniform("rows_per_sample", matrix.rows / sets.samples)
            .lanes(input, DType::F32, sets.fours())
            .over(matrix.slabs * matrix.columns);
        lower
            .dispatch(N::NAME, "finish_parameters")
            .read("partials", partials)
            .write("grad_weight", Slot::Output(0))
            .write("grad_bias", Slot::Output(1))
            .uniforms(&sets.uniforms())
            .uniforms(&matrix.uniforms())
            .lanes(input, DType::F32, sets.fours())
            .groups(matrix.columns);
    }

    fn takes_half(&self, input: usize, inputs: &[TensorDesc]) -> bool {
        input < 2 && takes_half(&self.0, &inputs[1].shape)
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        inputs[1].numel() as u64 * 5
    }

    cpu_kernel!(eval);
}

impl<N: SampleNorm> GradParameters<N> {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        checked(&self.0, inputs[1].shape()).grad_parameters(context.host, inputs, outputs);
    }
}
