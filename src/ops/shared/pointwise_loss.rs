//! What `mse`, `bce_with_logits` and `smooth_l1` have in common: the mean or sum of a function of input and target. Each
//! names the function and its derivatives, in Rust and in WGSL (`loss`, `derivative`, `target_derivative`); bindings and
//! entry points are in `shaders/shared/pointwise_loss.wgsl`.

use super::super::{Draw, Reduction, Sample};
use super::matrix::sum_rows;
use super::unary::CHUNK;
use crate::cpu_kernel;
use crate::error::Result;
use crate::graph::{
    Backward, Context, DispatchBuilder, Lower, Op, Real, Slot, TensorDesc, Value, View, ViewMut,
};
use crate::tensor::{DType, Layout};

/// A function of an input and a target.
pub trait LossFunction: Clone + std::fmt::Debug + Default + Send + Sync + 'static {
    /// The operator's stem.
    const NAME: &'static str;

    /// The name of the optional third input, one number per column.
    const WEIGHT: Option<&'static str> = None;

    /// Its argument, as the shader's `params.beta`.
    fn beta(&self) -> f32 {
        0.0
    }

    /// l(x, t); the weight is 1 if there is none.
    fn value<T: Real>(&self, x: T, t: T, weight: T) -> T;

    /// dl/dx
    fn derivative<T: Real>(&self, x: T, t: T, weight: T) -> T;

    /// dl/dt
    fn target_derivative<T: Real>(&self, x: T, t: T, weight: T) -> T;
}

/// The operator of a loss function: `(input, target[, weight]) -> loss`, for tensors of one shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PointwiseLoss<F> {
    /// The function.
    pub function: F,
    /// The mean or the sum over all elements.
    pub reduction: Reduction,
}

impl<F: LossFunction> PointwiseLoss<F> {
    /// The same with the mean or the sum.
    pub fn reduction(self, reduction: Reduction) -> PointwiseLoss<F> {
        PointwiseLoss { reduction, ..self }
    }

    /// What the sum over `count` elements is divided by.
    fn divisor(&self, count: usize) -> f64 {
        if self.reduction == Reduction::Mean { count as f64 } else { 1.0 }
    }

    /// Adds what both passes tell the shader.
    fn uniforms<'l, 'a>(
        &self,
        dispatch: DispatchBuilder<'l, 'a>,
        input: &TensorDesc,
        weight: Option<&TensorDesc>,
    ) -> DispatchBuilder<'l, 'a> {
        let columns = Columns::new(input, weight);
        dispatch
            .uniform("count", input.numel())
            .uniform("beta", self.function.beta())
            .uniform("has_weight", weight.is_some())
            .uniforms(&[("column_stride", columns.stride), ("columns", columns.count)])
    }
}

/// Which weight belongs to which element, in physical order.
#[derive(Clone, Copy)]
struct Columns {
    stride: usize,
    count: usize,
}

impl Columns {
    fn new(input: &TensorDesc, weight: Option<&TensorDesc>) -> Columns {
        let count = weight.map_or(1, |weight| weight.numel());
        let stride = Layout::of(&input.shape).strides().last().copied().unwrap_or(1);
        Columns { stride, count }
    }

    fn of(&self, i: usize) -> usize {
        i / self.stride % self.count
    }
}

impl<F: LossFunction> Op for PointwiseLoss<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let (input, target) = (&inputs[0].shape, &inputs[1].shape);
        if input != target || inputs[1].dtype != DType::F32 {
            let kind = if inputs[1].dtype == DType::F32 { "" } else { "class indices " };
            return Err(format!("target must be floats {input} like the input, it is {kind}{target}"));
        }
        let columns = input.last().copied().unwrap_or(1);
        match (inputs.get(2), F::WEIGHT) {
            (Some(_), None) => Err(format!("takes input and target only ({input})")),
            (Some(weight), Some(name)) if *weight.shape != [columns] && *weight.shape != [1] => {
                Err(format!("{name} must be [{columns}] or [1] for input {input}, it is {}", weight.shape))
            }
            _ => Ok(vec![TensorDesc::f32([])]),
        }
    }

    /// dx = dL l'(x) / D and dt = dL dl/dt / D; D is the number of elements for a mean, 1 for a sum
    fn backward(&self, b: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let inputs: Vec<Value> = [b.grad_output()].into_iter().chain(b.inputs()).collect();
        let pass = |of_target| PointwiseLossGrad { forward: self.clone(), of_target };
        let mut grads = vec![b.when_needed(0, pass(false), &inputs)?, b.when_needed(1, pass(true), &inputs)?];
        grads.resize(b.inputs().len(), None);
        Ok(grads)
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (input, weight) = (&lower.inputs[0], lower.inputs.get(2));
        let count = input.numel();
        let (groups, group_len) = groups(count);
        let partials = lower.scratch(groups);
        let dispatch = lower
            .dispatch(F::NAME, "forward")
            .read("input", Slot::Input(0))
            .read("targets", Slot::Input(1))
            .read("weight", Slot::Input(if weight.is_some() { 2 } else { 0 }))
            .write("output", partials)
            .uniform("group_len", group_len);
        self.uniforms(dispatch, input, weight).groups(groups);
        lower
            .dispatch(F::NAME, "finish")
            .read("partials", partials)
            .write("output", Slot::Output(0))
            .uniform("count", groups)
            .uniform("divisor", self.divisor(count) as f32)
            .groups(1);
    }

    cpu_kernel!(eval);
}

/// Workgroups and elements of each, by shape only: enough to fill a GPU, few enough for one workgroup to add up.
fn groups(count: usize) -> (usize, usize) {
    let groups = count.div_ceil(1024).min(1024);
    let len = count.div_ceil(groups);
    (count.div_ceil(len), len)
}

impl<F: LossFunction> PointwiseLoss<F> {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let (input, target) = (inputs[0].real, inputs[1].real);
        let weight = Weight::new(inputs[0].desc, inputs.get(2));
        let mut partials = vec![T::zero(); input.len().div_ceil(CHUNK)];
        context.host.for_each_chunk(&mut partials, 1, &|chunk, partial| {
            let range = chunk * CHUNK..input.len().min((chunk + 1) * CHUNK);
            let mut lanes = [T::zero(); LANES];
            let blocks = input[range.clone()].chunks(LANES).zip(target[range.clone()].chunks(LANES));
            for (block, (input, target)) in blocks.enumerate() {
                let first = range.start + block * LANES;
                for (i, (sum, (x, t))) in lanes.iter_mut().zip(input.iter().zip(target)).enumerate() {
                    *sum += self.function.value(*x, *t, weight.of(first + i));
                }
            }
            partial[0] = lanes.iter().copied().sum();
        });
        sum_rows(context.host, &partials, 1, outputs[0].real);
        outputs[0].real[0] /= T::of(self.divisor(input.len()));
    }
}

/// Sums that a CPU kernel keeps at a time: rounding grows slowly, and they fill vector registers.
const LANES: usize = 16;

/// The third input of a CPU kernel.
struct Weight<'a, T> {
    columns: Columns,
    values: Option<&'a [T]>,
}

impl<'a, T: Real> Weight<'a, T> {
    fn new(input: &TensorDesc, weight: Option<&View<'a, T>>) -> Weight<'a, T> {
        let columns = Columns::new(input, weight.map(|weight| weight.desc));
        Weight { columns, values: weight.map(|weight| weight.real) }
    }

    /// The weight of the `i`-th element.
    fn of(&self, i: usize) -> T {
        self.values.map_or(T::one(), |values| values[self.columns.of(i)])
    }
}

/// The gradients: `(grad_output, input, target[, weight]) -> grad_input` or `grad_target`.
#[derive(Clone, Debug)]
struct PointwiseLossGrad<F> {
    forward: PointwiseLoss<F>,
    of_target: bool,
}

impl<F: LossFunction> Op for PointwiseLossGrad<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn pass(&self) -> &'static str {
        if self.of_target { "grad_target" } else { "grad_input" }
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![inputs[1].clone()])
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (input, weight) = (&lower.inputs[1], lower.inputs.get(3));
        let count = input.numel();
        let dispatch = lower
            .dispatch(F::NAME, self.pass())
            .read("grad_output", Slot::Input(0))
            .read("input", Slot::Input(1))
            .read("targets", Slot::Input(2))
            .read("weight", Slot::Input(if weight.is_some() { 3 } else { 1 }))
            .write("output", Slot::Output(0))
            .uniform("divisor", self.forward.divisor(count) as f32);
        self.forward.uniforms(dispatch, input, weight).over(count);
    }

    cpu_kernel!(eval);
}

impl<F: LossFunction> PointwiseLossGrad<F> {
    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let function = &self.forward.function;
        match self.of_target {
            false => self.fill(context, inputs, outputs, |x, t, w| function.derivative(x, t, w)),
            true => self.fill(context, inputs, outputs, |x, t, w| function.target_derivative(x, t, w)),
        }
    }

    fn fill<T: Real>(
        &self,
        context: &Context<T>,
        inputs: &[View<T>],
        outputs: &mut [ViewMut<T>],
        derivative: impl Fn(T, T, T) -> T + Sync,
    ) {
        let (input, target) = (inputs[1].real, inputs[2].real);
        let weight = Weight::new(inputs[1].desc, inputs.get(3));
        let scale = inputs[0].real[0] / T::of(self.forward.divisor(input.len()));
        context.host.for_each_chunk(outputs[0].real, CHUNK, &|chunk, output| {
            let first = chunk * CHUNK;
            let pairs = input[first..].iter().zip(&target[first..]);
            for (i, (dx, (x, t))) in output.iter_mut().zip(pairs).enumerate() {
                *dx = scale * derivative(*x, *t, weight.of(first + i));
            }
        });
    }
}

/// Samples of a loss function with these arguments, for targets drawn in this way.
pub(crate) fn samples<F: LossFunction>(function: F, target: Draw) -> Vec<Sample> {
    let case = |id: &str, shape: &[usize], weight: Option<usize>, reduction: Reduction| {
        let op = PointwiseLoss { function: function.clone(), reduction };
        let mut inputs = vec![(shape.to_vec(), Draw::Normal), (shape.to_vec(), target)];
        inputs.extend(weight.map(|columns| (vec![columns], Draw::ConstantPositive)));
        let id = format!("{}/{id}", F::NAME);
        Sample::new(id, inputs, move |graph, values| graph.apply(op.clone(), values))
    };
    let mut samples = vec![
        case("image", &[2, 3, 5, 7], None, Reduction::Mean),
        case("one", &[1, 1], None, Reduction::Mean),
        case("row", &[131], None, Reduction::Mean),
        case("sum", &[9, 7], None, Reduction::Sum),
    ];
    if F::WEIGHT.is_some() {
        samples.push(case("weight", &[5, 7], Some(7), Reduction::Mean));
        samples.push(case("weight-image", &[2, 3, 2, 5], Some(5), Reduction::Sum));
        samples.push(case("one-weight", &[5, 7], Some(1), Reduction::Mean));
    }
    let large = case("several-groups", &[3, 1031], None, Reduction::Mean);
    // Central differences of so many inputs take long, and show what the small ones show.
    samples.push(large.without_gradient());
    samples
}
