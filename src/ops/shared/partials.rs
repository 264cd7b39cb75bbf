//! Sums that are split into slabs, and gradients of biases: `shaders/shared/slabs.wgsl` and `grad_bias.wgsl`, which
//! `conv2d`, `linear` and `matmul` have in common.

use super::epilogue::Epilogue;
use super::gemm_tile::{Tile, loads};
use super::matrix::Matrix;
use crate::graph::{DispatchBuilder, Lower, Slot};
use crate::tensor::DType;

/// Partial results of a sum that was split: `slabs` arrays of `count` elements, each padded to vectors of four.
#[derive(Clone, Copy)]
pub(crate) struct Partials {
    /// Where they are.
    pub(crate) slot: Slot,
    slabs: usize,
    count: usize,
}

impl Partials {
    /// Reserves memory for them.
    pub(crate) fn new(lower: &mut Lower<'_>, slabs: usize, count: usize) -> Partials {
        Partials { slot: lower.scratch(slabs * count.next_multiple_of(4)), slabs, count }
    }

    /// Adds the dispatch of `output = epilogue(sum over slabs + bias)`, with a bias for each of `n` columns.
    pub(crate) fn reduce(
        &self,
        lower: &mut Lower<'_>,
        (stem, output): (&'static str, Slot),
        bias: Option<(Slot, usize)>,
        epilogue: Option<Epilogue>,
    ) {
        let (result, Partials { slot, slabs, count }) = (lower.outputs[0].dtype, *self);
        let (bias_slot, columns) = bias.unwrap_or((slot, count));
        let dispatch = lower
            .dispatch(stem, "reduce_slabs")
            .read("partials", slot)
            .read("bias", bias_slot)
            .write("output", output)
            .uniforms(&[("slabs", slabs), ("count", count), ("columns", columns)])
            .uniform("slab_stride", count.next_multiple_of(4))
            .uniform("has_bias", bias.is_some())
            .snippet(loads(DType::F32, true))
            .stores(result, false);
        // A workgroup sums 16 vectors of four.
        without_tile(Epilogue::constants(epilogue, dispatch), true).groups(count.div_ceil(64));
    }
}

/// Adds the dispatches of the gradient of a bias, the sums of the columns of `Input(0)`.
pub(crate) fn lower_grad_bias(lower: &mut Lower<'_>, stem: &'static str, columns: usize) {
    let dtype = lower.inputs[0].dtype;
    let Matrix { rows, slabs, slab_len, .. } = Matrix::new(lower.inputs[0].numel() / columns, columns);
    let partials = (slabs > 1).then(|| Partials::new(lower, slabs, columns));
    let vectors = columns.is_multiple_of(4);
    let dispatch = lower
        .dispatch(stem, "grad_bias")
        .read("grad_output", Slot::Input(0))
        .write("output", partials.map_or(Slot::Output(0), |partials| partials.slot))
        .uniforms(&[("rows", rows), ("columns", columns), ("slabs", slabs), ("slab_len", slab_len)])
        .uniform("slab_stride", columns.next_multiple_of(4))
        .snippet(loads(dtype, vectors))
        .stores(DType::F32, false);
    without_tile(Epilogue::constants(None, dispatch), vectors).over(slabs * columns.div_ceil(4));
    if let Some(partials) = partials {
        partials.reduce(lower, (stem, Slot::Output(0)), None, None);
    }
}

/// Constants that the file's products need, for kernels that are none: a file is compiled as a whole.
pub(crate) fn without_tile<'l, 'a>(
    dispatch: DispatchBuilder<'l, 'a>,
    vectors: bool,
) -> DispatchBuilder<'l, 'a> {
    Tile::SMALL
        .constants(dispatch, [vectors; 2])
        .constant("A_ALONG_K", true)
        .constant("B_ALONG_K", true)
        .constant("CONTINUES", false)
        .constant("BOUNDED", true)
        .constant("SLAB_LANES", 1u32)
}
