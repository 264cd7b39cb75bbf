//! Mean and sum of squared deviations of each channel in runs of pixels, which a convolution gives along with its output
//! and `batch_norm` merges into those of the whole batch.

use super::matrix::Matrix;
use crate::graph::{Lower, Slot, TensorDesc};
use crate::ops::batch_norm::{matrix, partial_statistics};
use crate::tensor::DType;

/// The partial statistics of a convolution's output: `[runs, 2, K]`, or why there are none. Kernels keep channels in fours
/// and f32, in which the convolution of mixed precision is not.
pub(crate) fn infer(output: &TensorDesc, activated: bool) -> Result<TensorDesc, String> {
    let channels = output.shape[1];
    if !channels.is_multiple_of(4) || output.dtype != DType::F32 || activated {
        let why = "takes statistics of an output of f32, with channels by fours and no activation";
        return Err(format!("{why}; it is {:?} {}", output.dtype, output.shape));
    }
    let Matrix { slabs, .. } = matrix(&output.shape);
    Ok(TensorDesc::f32([slabs, 2, channels]))
}

/// Adds the dispatch that finds them in `Output(0)` for `Output(1)`.
pub(crate) fn lower(lower: &mut Lower<'_>) {
    let matrix = matrix(&lower.outputs[0].shape);
    partial_statistics(lower, &matrix, DType::F32, [Slot::Output(0), Slot::Output(1)]);
}
