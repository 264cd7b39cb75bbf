//! GPU dispatches of `conv2d` with groups of few channels: direct kernels (`shaders/shared/conv2d_grouped.wgsl`).

use super::convolution::Dims;
use super::epilogue::Epilogue;
use super::gemm_tile::loads;
use super::partials::{Partials, without_tile};
use crate::graph::{DispatchBuilder, Lower, Slot};
use crate::tensor::DType;

impl Dims {
    /// Whether groups are too small for tiles of matrix products.
    pub(crate) fn direct(&self) -> bool {
        /// Half of the smallest tile's columns would be padding.
        const LEAST: usize = 16;
        let worth = |count: usize| count >= LEAST && count.is_multiple_of(4);
        self.groups > 1 && !(worth(self.depth()) && worth(self.filters()))
    }

    /// Whether each group is one channel with one filter, and channels come by fours.
    fn by_four(&self) -> bool {
        self.depth() == 1 && self.filters() == 1 && self.c.is_multiple_of(4)
    }
}

/// As [`super::convolution_lower::forward`].
pub(crate) fn forward(lower: &mut Lower<'_>, dims: &Dims, epilogue: Option<Epilogue>) {
    let (dtype, result) = (lower.inputs[0].dtype, lower.outputs[0].dtype);
    let bias = lower.inputs.get(2).map(|_| Slot::Input(2));
    let count = dims.n * dims.p * dims.q.div_ceil(4) * dims.k.div_ceil(4);
    let dispatch = lower
        .dispatch("conv2d", "grouped_forward")
        .read("input", Slot::Input(0))
        .read("weight", Slot::Input(1))
        .read("bias", bias.unwrap_or(Slot::Input(1)))
        .write("output", Slot::Output(0))
        .uniform("has_bias", bias.is_some())
        .stores(result, !dims.k.is_multiple_of(4));
    finish(dispatch, dims, dtype, epilogue, count);
}

/// As [`super::convolution_lower::grad_input`].
pub(crate) fn grad_input(lower: &mut Lower<'_>, dims: &Dims) {
    let (dtype, result) = (lower.inputs[0].dtype, lower.outputs[0].dtype);
    let count = dims.n * dims.h * dims.w.div_ceil(4) * dims.c.div_ceil(4);
    let dispatch = lower
        .dispatch("conv2d", "grouped_grad_input")
        .read("grad_output", Slot::Input(0))
        .read("weight", Slot::Input(1))
        .write("output", Slot::Output(0))
        .stores(result, !dims.c.is_multiple_of(4));
    finish(dispatch, dims, dtype, None, count);
}

/// As [`super::convolution_lower::grad_weight`].
pub(crate) fn grad_weight(lower: &mut Lower<'_>, dims: &Dims) {
    let dtype = lower.inputs[0].dtype;
    let (weights, pixels) = (dims.k * dims.taps(), dims.n * dims.p * dims.q);
    let vectors = dims.k.div_ceil(4) * dims.taps();
    // An estimate, not measured on a large GPU: 2^15 invocations fill one; shorter slabs are mostly overhead.
    let slab_len = pixels.div_ceil(((1 << 15) / vectors).max(1)).max(64);
    let slabs = pixels.div_ceil(slab_len);
    let partials = (slabs > 1).then(|| Partials::new(lower, slabs, weights));
    let dispatch = lower
        .dispatch("conv2d", "grouped_grad_weight")
        .read("grad_output", Slot::Input(0))
        .read("input", Slot::Input(1))
        .write("output", partials.map_or(Slot::Output(0), |partials| partials.slot))
        .uniforms(&[("slab_len", slab_len), ("slab_stride", weights.next_multiple_of(4))])
        .stores(DType::F32, true);
    finish(dispatch, dims, dtype, None, slabs * vectors);
    if let Some(partials) = partials {
        partials.reduce(lower, ("conv2d", Slot::Output(0)), None, None);
    }
}

fn finish(
    dispatch: DispatchBuilder<'_, '_>,
    dims: &Dims,
    dtype: DType,
    epilogue: Option<Epilogue>,
    count: usize,
) {
    let dispatch = dispatch
        .uniforms(&dims.uniforms())
        .uniform("count", count)
        .snippet(loads(dtype, dims.by_four() || dtype == DType::F16));
    without_tile(Epilogue::constants(epilogue, dispatch), dims.by_four()).over(count);
}
