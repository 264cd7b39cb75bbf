//! The gradient of `batch_norm`; its kernels are in `shaders/batch_norm.wgsl` and `batch_norm_host`.

use super::batch_norm_host::{Channels, Data};
use super::matrix::Matrix;
use crate::cpu_kernel;
use crate::graph::{Context, DispatchBuilder, Lower, Op, Real, Slot, TensorDesc, View, ViewMut};
use crate::ops::batch_norm::{Normalization, inverted, matrix};

/// The gradients: `(grad_output, input, mean, invstd or running_var[, weight, bias]) -> grad_input[, grad_weight,
/// grad_bias]`. Of the forward operator's epilogue there is none left if it had a residual.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NormalizationGrad {
    pub(crate) forward: Normalization,
}

impl Op for NormalizationGrad {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok([&inputs[1..2], &inputs[4..]].concat())
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        let (matrix, dtype) = (matrix(&lower.inputs[1].shape), lower.inputs[1].dtype);
        let affine = lower.inputs.len() == 6;
        // The sums are needed for the weight and the bias, and in training for the input.
        let means = match affine || self.forward.training() {
            true => self.lower_sums(lower, &matrix),
            false => Slot::Input(2),
        };
        let dispatch =
            self.dispatch(lower, "grad_input").read("means", means).write("output", Slot::Output(0));
        self.forward.settings(dispatch, &matrix, dtype).over((matrix.rows * matrix.columns).div_ceil(4));
    }

    fn takes_half(&self, input: usize, _: &[TensorDesc]) -> bool {
        input < 2
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        inputs[1].numel() as u64 * 11
    }

    cpu_kernel!(eval);
}

impl NormalizationGrad {
    /// Begins a dispatch that computes dz.
    fn dispatch<'l, 'a>(&self, lower: &'l mut Lower<'a>, entry: &'static str) -> DispatchBuilder<'l, 'a> {
        let affine = lower.inputs.len() == 6;
        let vector = |input| Slot::Input(if affine { input } else { 2 });
        lower
            .dispatch("batch_norm", entry)
            .read("grad_output", Slot::Input(0))
            .read("input", Slot::Input(1))
            .read("mean", Slot::Input(2))
            .read("spread", Slot::Input(3))
            .read("weight", vector(4))
            .read("bias", vector(5))
            .uniform("affine", affine)
    }

    /// Sums over the rows; gives the channels' means.
    fn lower_sums(&self, lower: &mut Lower<'_>, matrix: &Matrix) -> Slot {
        let dtype = lower.inputs[1].dtype;
        let [grad_weight, grad_bias] = match lower.inputs.len() {
            6 => [Slot::Output(1), Slot::Output(2)],
            _ => [lower.scratch(matrix.columns), lower.scratch(matrix.columns)],
        };
        let [partials, means] = [lower.scratch(matrix.partials()), lower.scratch(8 * matrix.quads())];
        let dispatch = self.dispatch(lower, "partial_gradients").write("new_partials", partials);
        self.forward.settings(dispatch, matrix, dtype).over(matrix.slabs * matrix.quads());
        let dispatch = lower
            .dispatch("batch_norm", "finish_gradients")
            .read("partials", partials)
            .read("spread", Slot::Input(3))
            .write("new_grad_weight", grad_weight)
            .write("new_grad_bias", grad_bias)
            .write("new_means", means);
        self.forward.settings(dispatch, matrix, dtype).groups(matrix.quads());
        means
    }

    fn eval<T: Real>(&self, context: &Context<T>, inputs: &[View<T>], outputs: &mut [ViewMut<T>]) {
        let (matrix, forward) = (matrix(inputs[1].shape()), &self.forward);
        let [grad, input, mean, spread] = [0, 1, 2, 3].map(|i| inputs[i].real);
        let invstd = match forward.training() {
            true => spread.to_vec(),
            false => inverted(spread, T::of(f64::from(forward.eps))),
        };
        let channels = Channels::new(mean, &invstd, &inputs[4..]);
        let data = Data { host: context.host, matrix: &matrix, input, epilogue: forward.epilogue };
        let (grad_input, parameters) = outputs.split_first_mut().expect("the shape rule gives outputs");
        let mut sums = vec![];
        if forward.training() || !parameters.is_empty() {
            sums = channels.gradient_sums(&data, grad);
        }
        if let [to_weight, to_bias] = parameters {
            let (of_grad, of_products) = sums.split_at(matrix.columns);
            to_bias.real.copy_from_slice(of_grad);
            let products = of_products.iter().zip(&invstd);
            to_weight.real.iter_mut().zip(products).for_each(|(to, (sum, invstd))| *to = *sum * *invstd);
        }
        let sums = forward.training().then_some(&sums[..]);
        channels.grad_input(&data, grad, &invstd, sums, grad_input.real);
    }
}
