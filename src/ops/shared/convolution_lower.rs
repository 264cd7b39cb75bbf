//! GPU dispatches of `conv2d`: implicit products of matrices (`shaders/conv2d.wgsl`). Letters as in `conv2d`.

use super::convolution::{Dims, common_divisor};
use super::cooperative;
use super::epilogue::Epilogue;
use super::gemm_tile::{Problem, loads, middling, slabs};
use super::partials::Partials;
use crate::graph::{DispatchBuilder, Lower, Slot};
use crate::tensor::DType;

/// `Output(0) = epilogue(conv2d(Input(0), Input(1)) + Input(2))`, the bias if there is one.
pub(crate) fn forward(lower: &mut Lower<'_>, dims: &Dims, epilogue: Option<Epilogue>) {
    let bias = lower.inputs.get(2).map(|_| Slot::Input(2));
    if cooperative::convolution(lower, dims, bias, epilogue) {
        return;
    }
    let (dtype, result) = (lower.inputs[0].dtype, lower.outputs[0].dtype);
    let sizes = [dims.n * dims.p * dims.q, dims.filters(), dims.taps()];
    let vectors = [dims.depth().is_multiple_of(4); 2];
    let problem = dims.problem("conv2d.forward", dtype, sizes, dims.groups);
    let tile = problem.choose(lower);
    let [tiles_m, tiles_n] = tile.count(sizes[0], sizes[1]);
    let dispatch = lower
        .dispatch("conv2d", if tile.is_direct() { "direct_forward" } else { "forward" })
        .read("input", Slot::Input(0))
        .read("weight", Slot::Input(1))
        .read("bias", bias.unwrap_or(Slot::Input(1)))
        .write("output", Slot::Output(0))
        .uniforms(&dims.uniforms())
        .uniforms(&[("tiles_m", tiles_m), ("tiles_n", tiles_n)])
        .uniform("has_bias", bias.is_some())
        .constant("BOUNDED", dims.padded())
        .constant("SLAB_LANES", 1u32)
        .snippet(loads(dtype, vectors[0]))
        .stores(result, !dims.filters().is_multiple_of(4));
    tile.constants(Epilogue::constants(epilogue, dispatch), vectors).groups(tiles_m * tiles_n * dims.groups);
}

/// `Output(0) = grad_input` of `Input(0) = grad_output` and `Input(1) = weight`, the phases of a stride in one dispatch.
pub(crate) fn grad_input(lower: &mut Lower<'_>, dims: &Dims) {
    if cooperative::convolution_grad_input(lower, dims) {
        return;
    }
    let (dtype, result) = (lower.inputs[0].dtype, lower.outputs[0].dtype);
    let (stride, dilation) = (dims.window.stride, dims.window.dilation);
    let phases = stride.h * stride.w;
    // The first phase has the most pixels.
    let pixels = dims.n * dims.h.div_ceil(stride.h) * dims.w.div_ceil(stride.w);
    let terms = (dims.window.kernel.h * dims.window.kernel.w).div_ceil(phases) * dims.filters();
    let sizes = [pixels, dims.depth(), terms];
    let vectors = [dims.filters(), dims.depth()].map(|count| count.is_multiple_of(4));
    let problem = dims.problem("conv2d.grad_input", dtype, sizes, dims.groups * phases);
    let tile = problem.choose(lower);
    let [tiles_m, tiles_n] = tile.count(sizes[0], sizes[1]);
    let [common_h, common_w] = [common_divisor(stride.h, dilation.h), common_divisor(stride.w, dilation.w)];
    let dispatch = lower
        .dispatch("conv2d", if tile.is_direct() { "direct_grad_input" } else { "grad_input" })
        .read("grad_output", Slot::Input(0))
        .read("weight", Slot::Input(1))
        .write("output", Slot::Output(0))
        .uniforms(&dims.uniforms())
        .uniforms(&[("tiles_m", tiles_m), ("tiles_n", tiles_n)])
        .uniforms(&[("tap_step_h", stride.h / common_h), ("tap_step_w", stride.w / common_w)])
        .uniforms(&[("tap_shift_h", dilation.h / common_h), ("tap_shift_w", dilation.w / common_w)])
        .constant("BOUNDED", dims.padded() || !dims.pointwise())
        .constant("SLAB_LANES", 1u32)
        .snippet(loads(dtype, vectors[0] && vectors[1]))
        .stores(result, !dims.depth().is_multiple_of(4));
    let dispatch = Epilogue::constants(None, dispatch);
    tile.constants(dispatch, vectors).groups(tiles_m * tiles_n * dims.groups * phases);
}

/// `Output(0) = grad_weight` of `Input(0) = grad_output` and `Input(1) = input`.
pub(crate) fn grad_weight(lower: &mut Lower<'_>, dims: &Dims) {
    if cooperative::convolution_grad_weight(lower, dims) {
        return;
    }
    let dtype = lower.inputs[0].dtype;
    let sizes = [dims.filters(), dims.taps(), dims.n * dims.p * dims.q];
    let vectors = [dims.filters(), dims.depth()].map(|count| count.is_multiple_of(4));
    let (slabs, slab_len) = slabs(sizes[2], middling(sizes[0], sizes[1]) * dims.groups);
    let batch = dims.groups * slabs;
    let tile = dims.problem("conv2d.grad_weight", dtype, sizes, batch).choose(lower);
    let [tiles_m, tiles_n] = tile.count(sizes[0], sizes[1]);
    // Invocations of a direct kernel that take slabs, because there are few columns.
    let slab_lanes = match sizes[1].div_ceil(4) {
        _ if !tile.is_direct() => 1,
        ..5 => 16usize,
        5..17 => 4,
        _ => 1,
    };
    let count = dims.k * dims.taps();
    let partials = (slabs > 1).then(|| Partials::new(lower, slabs, count));
    let dispatch = lower
        .dispatch("conv2d", if tile.is_direct() { "direct_grad_weight" } else { "grad_weight" })
        .read("grad_output", Slot::Input(0))
        .read("input", Slot::Input(1))
        .write("output", partials.as_ref().map_or(Slot::Output(0), |partials| partials.slot))
        .uniforms(&dims.uniforms())
        .uniforms(&[("tiles_m", tiles_m), ("tiles_n", tiles_n)])
        .uniforms(&[("slabs", slabs), ("slab_len", slab_len), ("slab_stride", count.next_multiple_of(4))])
        .constant("BOUNDED", dims.padded())
        .constant("SLAB_LANES", slab_lanes)
        .snippet(loads(dtype, vectors[0] && vectors[1]))
        .stores(DType::F32, !dims.taps().is_multiple_of(4));
    let dispatch: DispatchBuilder<'_, '_> = Epilogue::constants(None, dispatch);
    tile.constants(dispatch, vectors).groups(tiles_m * tiles_n * slabs.div_ceil(slab_lanes) * dims.groups);
    if let Some(partials) = partials {
        partials.reduce(lower, ("conv2d", Slot::Output(0)), None, None);
    }
}

impl Dims {
    fn problem(&self, family: &'static str, dtype: DType, sizes: [usize; 3], batch: usize) -> Problem {
        let (kernel, stride) = (self.window.kernel, self.window.stride);
        Problem { family, dtype, sizes, batch, window: [kernel.h * kernel.w, stride.h * stride.w] }
    }

    /// Whether windows hang over the image.
    fn padded(&self) -> bool {
        let (before, after) = (self.window.padding, self.window.padding_end);
        before.h + before.w + after.h + after.w > 0
    }

    /// Whether filters have one tap.
    fn pointwise(&self) -> bool {
        self.window.kernel.h * self.window.kernel.w == 1
    }
}
