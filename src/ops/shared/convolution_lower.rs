//! GPU dispatches of `conv2d`: implicit products of matrices (`shaders/conv2d.wgsl`). Letters as in `conv2d`.

use std::ops::Range;

use super::convolution::{Dims, common_divisor};
use super::cooperative;
use super::epilogue::Epilogue;
use super::gemm_tile::{Problem, Tile, loads, middling, slabs};
use super::partials::Partials;
use crate::graph::{DispatchBuilder, Lower, Part, Slot};
use crate::tensor::DType;

/// `Output(0) = epilogue(conv2d(Input(0), Input(1)) + Input(2))`, the bias if there is one.
pub(crate) fn forward(lower: &mut Lower<'_>, dims: &Dims, epilogue: Option<Epilogue>) {
    let bias = lower.inputs.get(2).map(|_| Slot::Input(2));
    if lower.is_whole() && cooperative::convolution(lower, dims, bias, epilogue) {
        return;
    }
    let (dtype, result) = (lower.inputs[0].dtype, lower.outputs[0].dtype);
    let sizes = [dims.n * dims.p * dims.q, dims.filters(), dims.taps()];
    let vectors = [dims.depth().is_multiple_of(4); 2];
    let problem = dims.problem("conv2d.forward", dtype, sizes, dims.groups);
    let tile = dims.choose(&problem, lower);
    for Part { slot: weight, rows: filters } in dims.parts(lower, Slot::Input(1)) {
        let [tiles_m, tiles_n] = tile.count(sizes[0], filters.len());
        let dispatch = lower
            .dispatch("conv2d", if tile.is_direct() { "direct_forward" } else { "forward" })
            .read("input", Slot::Input(0))
            .read("weight", weight)
            .read("bias", bias.unwrap_or(weight))
            .write("output", Slot::Output(0))
            .uniforms(&dims.uniforms())
            .uniforms(&[("first_filter", filters.start), ("end_filter", filters.end)])
            .uniforms(&[("tiles_m", tiles_m), ("tiles_n", tiles_n)])
            .uniform("has_bias", bias.is_some())
            .constant("BOUNDED", dims.padded())
            .constant("SLAB_LANES", 1u32)
            .constant("CONTINUES", false)
            .snippet(loads(dtype, vectors[0]))
            .stores(result, !dims.filters().is_multiple_of(4));
        let dispatch = Epilogue::constants(epilogue, dispatch);
        tile.constants(dispatch, vectors).groups(tiles_m * tiles_n * dims.groups);
    }
}

/// `Output(0) = grad_input` of `Input(0) = grad_output` and `Input(1) = weight`, the phases of a stride in one dispatch.
pub(crate) fn grad_input(lower: &mut Lower<'_>, dims: &Dims) {
    if lower.is_whole() && cooperative::convolution_grad_input(lower, dims) {
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
    let tile = dims.choose(&problem, lower);
    let [tiles_m, tiles_n] = tile.count(sizes[0], sizes[1]);
    let common = [common_divisor(stride.h, dilation.h), common_divisor(stride.w, dilation.w)];
    let step = [stride.h / common[0], stride.w / common[1]];
    let windows = dims.terms(lower, step);
    // Sums that another dispatch goes on with are kept as f32.
    let kept = (windows.len() > 1 && result == DType::F16)
        .then(|| Partials::new(lower, 1, dims.n * dims.h * dims.w * dims.c));
    let (output, stored) = kept.as_ref().map_or((Slot::Output(0), result), |kept| (kept.slot, DType::F32));
    for Terms { weight, filters, k } in windows {
        let dispatch = lower
            .dispatch("conv2d", if tile.is_direct() { "direct_grad_input" } else { "grad_input" })
            .read("grad_output", Slot::Input(0))
            .read("weight", weight)
            .write("output", output)
            .uniforms(&dims.uniforms())
            .uniforms(&[("first_filter", filters.start), ("end_filter", filters.end)])
            .uniforms(&[("first_k", k.start), ("end_k", k.end)])
            .uniforms(&[("tiles_m", tiles_m), ("tiles_n", tiles_n)])
            .uniforms(&[("tap_step_h", step[0]), ("tap_step_w", step[1])])
            .uniforms(&[("tap_shift_h", dilation.h / common[0]), ("tap_shift_w", dilation.w / common[1])])
            .constant("BOUNDED", dims.padded() || !dims.pointwise())
            .constant("SLAB_LANES", 1u32)
            .constant("CONTINUES", k.start > 0)
            .snippet(loads(dtype, vectors[0] && vectors[1]))
            .stores(stored, !dims.depth().is_multiple_of(4));
        let dispatch = Epilogue::constants(None, dispatch);
        tile.constants(dispatch, vectors).groups(tiles_m * tiles_n * dims.groups * phases);
    }
    if let Some(kept) = kept {
        kept.reduce(lower, ("conv2d", Slot::Output(0)), None, None);
    }
}

/// `Output(0) = grad_weight` of `Input(0) = grad_output` and `Input(1) = input`.
pub(crate) fn grad_weight(lower: &mut Lower<'_>, dims: &Dims) {
    if lower.is_whole() && cooperative::convolution_grad_weight(lower, dims) {
        return;
    }
    let dtype = lower.inputs[0].dtype;
    let sizes = [dims.filters(), dims.taps(), dims.n * dims.p * dims.q];
    let vectors = [dims.filters(), dims.depth()].map(|count| count.is_multiple_of(4));
    let (slabs, slab_len) = slabs(sizes[2], middling(sizes[0], sizes[1]) * dims.groups);
    let batch = dims.groups * slabs;
    let tile = dims.choose(&dims.problem("conv2d.grad_weight", dtype, sizes, batch), lower);
    // Invocations of a direct kernel that take slabs, because there are few columns.
    let slab_lanes = match sizes[1].div_ceil(4) {
        _ if !tile.is_direct() => 1,
        ..5 => 16usize,
        5..17 => 4,
        _ => 1,
    };
    for Part { slot, rows: filters } in dims.parts(lower, Slot::Output(0)) {
        let [tiles_m, tiles_n] = tile.count(filters.len(), sizes[1]);
        let count = filters.len() * dims.groups * dims.taps();
        let partials = (slabs > 1).then(|| Partials::new(lower, slabs, count));
        let dispatch = lower
            .dispatch("conv2d", if tile.is_direct() { "direct_grad_weight" } else { "grad_weight" })
            .read("grad_output", Slot::Input(0))
            .read("input", Slot::Input(1))
            .write("output", partials.as_ref().map_or(slot, |partials| partials.slot))
            .uniforms(&dims.uniforms())
            .uniforms(&[("first_filter", filters.start), ("end_filter", filters.end)])
            .uniforms(&[("tiles_m", tiles_m), ("tiles_n", tiles_n)])
            .uniforms(&[("slabs", slabs), ("slab_len", slab_len), ("slab_stride", count.next_multiple_of(4))])
            .constant("BOUNDED", dims.padded())
            .constant("SLAB_LANES", slab_lanes)
            .constant("CONTINUES", false)
            .snippet(loads(dtype, vectors[0] && vectors[1]))
            .stores(DType::F32, !dims.taps().is_multiple_of(4));
        let dispatch: DispatchBuilder<'_, '_> = Epilogue::constants(None, dispatch);
        tile.constants(dispatch, vectors)
            .groups(tiles_m * tiles_n * slabs.div_ceil(slab_lanes) * dims.groups);
        if let Some(partials) = partials {
            partials.reduce(lower, ("conv2d", slot), None, None);
        }
    }
}

/// What one dispatch adds to the gradient of the input.
struct Terms {
    /// The weight, or the part of it that has the filters.
    weight: Slot,
    filters: Range<usize>,
    /// Terms of the sums, taps outermost; those that a phase does not have are left out.
    k: Range<usize>,
}

impl Dims {
    /// The filters of a group, and where the weight, or what is laid out like it, has them: in several parts where the device
    /// binds only so much, and there is one group.
    fn parts(&self, lower: &Lower<'_>, weight: Slot) -> Vec<Part> {
        if self.in_parts(lower) {
            lower.parts(weight)
        } else {
            vec![Part { slot: weight, rows: 0..self.filters() }]
        }
    }

    fn in_parts(&self, lower: &Lower<'_>) -> bool {
        !lower.is_whole() && self.groups == 1
    }

    /// The terms of the gradient of the input, in order: all at once, unless the weight lies in parts. A phase has every
    /// `step`-th tap.
    fn terms(&self, lower: &Lower<'_>, step: [usize; 2]) -> Vec<Terms> {
        if !self.in_parts(lower) {
            let k = 0..u32::MAX as usize;
            return vec![Terms { weight: Slot::Input(1), filters: 0..self.filters(), k }];
        }
        let kernel = self.window.kernel;
        let taps = kernel.h.div_ceil(step[0]) * kernel.w.div_ceil(step[1]);
        let parts = lower.parts(Slot::Input(1));
        let at_tap = |tap: usize| {
            let first = tap * self.filters();
            parts.iter().map(move |Part { slot, rows }| Terms {
                weight: *slot,
                filters: rows.clone(),
                k: first + rows.start..first + rows.end,
            })
        };
        (0..taps).flat_map(at_tap).collect()
    }

    /// A configuration; of what lies in parts one with tiles.
    fn choose(&self, problem: &Problem, lower: &mut Lower<'_>) -> Tile {
        if self.in_parts(lower) { problem.choose_tiles(lower) } else { problem.choose(lower) }
    }

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
