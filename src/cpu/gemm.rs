//! The one call into the gemm crate, and with it one of the two places where unsafe code is allowed.
#![allow(unsafe_code)]

use crate::graph::{Gemm, Real};

/// Runs one product on the calling thread.
///
/// # Panics
/// If a matrix reaches beyond its slice: a bug in an operator, not in its input.
pub(super) fn gemm<T: Real>(gemm: Gemm<'_, T>) {
    let Gemm { m, n, k, a, a_strides, b, b_strides, c, c_strides, accumulate } = gemm;
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let end = |rows: usize, columns: usize, strides: [usize; 2]| {
        (rows - 1) * strides[0] + (columns - 1) * strides[1]
    };
    assert!(end(m, k, a_strides) < a.len(), "gemm: a reaches beyond its {} elements", a.len());
    assert!(end(k, n, b_strides) < b.len(), "gemm: b reaches beyond its {} elements", b.len());
    assert!(end(m, n, c_strides) < c.len(), "gemm: c reaches beyond its {} elements", c.len());
    // SAFETY: the assertions above keep every access within the slices; c is borrowed exclusively, so it does not
    // overlap with a or b; T is f32 or f64 (Real is implemented for no other type), which the crate supports.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            c_strides[1] as isize,
            c_strides[0] as isize,
            accumulate,
            a.as_ptr(),
            a_strides[1] as isize,
            a_strides[0] as isize,
            b.as_ptr(),
            b_strides[1] as isize,
            b_strides[0] as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
