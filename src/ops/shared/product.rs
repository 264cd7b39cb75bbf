//! Products of strided matrices: what `linear` and `matmul` have in common. Bindings and entry points are in
//! `shaders/shared/product.wgsl`.

use super::cooperative;
use super::epilogue::Epilogue;
use super::gemm_tile::{Problem, loads, middling, slabs};
use super::matrix::sum_rows;
use super::partials::Partials;
use crate::graph::{Gemm, Host, Lower, Real, Slot, TensorDesc};
use crate::tensor::{DType, Shape};

/// `c[i, j] = sum over k of a[i, k] b[k, j]`, with `c` row-major and the factors strided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    /// Rows of `a` and `c`.
    pub m: usize,
    /// Columns of `b` and `c`.
    pub n: usize,
    /// Columns of `a`, rows of `b`.
    pub k: usize,
    /// Strides of `a` along m and k.
    pub a: [usize; 2],
    /// Strides of `b` along k and n.
    pub b: [usize; 2],
}

impl Product {
    /// `a [m, k] b [k, n]`, each possibly stored transposed.
    pub(crate) fn new([m, k, n]: [usize; 3], a_transposed: bool, b_transposed: bool) -> Product {
        let strides = |rows, columns, transposed| if transposed { [1, rows] } else { [columns, 1] };
        Product { m, n, k, a: strides(m, k, a_transposed), b: strides(k, n, b_transposed) }
    }

    /// Floating-point operations.
    pub(crate) fn flops(&self) -> u64 {
        2 * (self.m * self.n * self.k) as u64
    }

    /// Whether the factors are contiguous along K, and whether four neighbours of each are read at once.
    fn access(&self) -> ([bool; 2], [bool; 2]) {
        let along_k = [self.a[1] == 1, self.b[0] == 1];
        let by_four = |along_k, across: usize| (if along_k { self.k } else { across }).is_multiple_of(4);
        (along_k, [by_four(along_k[0], self.m), by_four(along_k[1], self.n)])
    }

    /// Adds the dispatches of `Output(0) = epilogue(a b + bias)`, through the shader `stem`.
    pub(crate) fn lower(
        &self,
        lower: &mut Lower<'_>,
        (stem, family): (&'static str, &'static str),
        [a, b]: [Slot; 2],
        bias: Option<Slot>,
        epilogue: Option<Epilogue>,
    ) {
        if epilogue.is_none() && cooperative::product(lower, self, [a, b], bias) {
            return;
        }
        let Product { m, n, k, .. } = *self;
        let (dtype, result) = (lower.inputs[0].dtype, lower.outputs[0].dtype);
        let ([a_along_k, b_along_k], vectors) = self.access();
        let (slabs, slab_len) = slabs(k, middling(m, n));
        let problem = Problem { family, dtype, sizes: [m, n, k], batch: slabs, window: [1, 1] };
        let tile = problem.choose(lower);
        let [tiles_m, tiles_n] = tile.count(m, n);
        let partials = (slabs > 1).then(|| Partials::new(lower, slabs, m * n));
        let (output, stored) = partials.as_ref().map_or((Slot::Output(0), result), |p| (p.slot, DType::F32));
        let direct = partials.is_none();
        let dispatch = lower
            .dispatch(stem, "product")
            .read("a", a)
            .read("b", b)
            .read("bias", bias.unwrap_or(b))
            .write("output", output)
            .uniforms(&[("m", m), ("n", n), ("k", k), ("slabs", slabs), ("slab_len", slab_len)])
            .uniforms(&[("tiles_m", tiles_m), ("tiles_n", tiles_n)])
            .uniform("slab_stride", (m * n).next_multiple_of(4))
            .uniform("a_stride", if a_along_k { self.a[0] } else { self.a[1] })
            .uniform("b_stride", if b_along_k { self.b[1] } else { self.b[0] })
            .uniform("has_bias", bias.is_some() && direct)
            .constant("A_ALONG_K", a_along_k)
            .constant("B_ALONG_K", b_along_k)
            .snippet(loads(dtype, vectors[0] && vectors[1]))
            .stores(stored, !n.is_multiple_of(4));
        let dispatch = Epilogue::constants(epilogue.filter(|_| direct), dispatch);
        tile.constants(dispatch, vectors).groups(tiles_m * tiles_n * slabs);
        if let Some(partials) = partials {
            partials.reduce(lower, stem, bias.map(|bias| (bias, n)), epilogue);
        }
    }

    /// `c = a b` on the host: rows in parallel, or slabs of a long sum if there are few rows.
    pub(crate) fn eval<T: Real>(&self, host: &dyn Host<T>, a: &[T], b: &[T], c: &mut [T]) {
        /// Multiply-adds below which another thread does not pay.
        const WORK: usize = 1 << 19;
        /// Rows below which a product is busy with packing `b`: on one thread 64 x 3136 by 3136 x 128 took 4.2 ms in
        /// chunks of 4 rows and 1.4 ms in slabs of the sum.
        const ROWS: usize = 32;
        /// Terms below which a slab of a sum is busy with its results.
        const DEPTH: usize = 256;
        let Product { m, n, k, .. } = *self;
        let rows = m.div_ceil(16).max(ROWS).max(WORK.div_ceil(n * k)).next_multiple_of(4);
        let slabs = (m * n * k / WORK).min(k / DEPTH).min(16);
        if m.div_ceil(rows) < 8 && slabs > 1 {
            let depth = k.div_ceil(slabs);
            let slabs = k.div_ceil(depth);
            return host.with_scratch(slabs * m * n, &mut |partials| {
                host.for_each_chunk(partials, m * n, &|slab, partial| {
                    let first = slab * depth;
                    let part = Product { k: depth.min(k - first), ..*self };
                    part.gemm(host, &a[first * self.a[1]..], &b[first * self.b[0]..], partial);
                });
                sum_rows(host, partials, m * n, c);
            });
        }
        host.for_each_chunk(c, rows * n, &|chunk, c| {
            let part = Product { m: c.len() / n, ..*self };
            part.gemm(host, &a[chunk * rows * self.a[0]..], b, c);
        });
    }

    fn gemm<T: Real>(&self, host: &dyn Host<T>, a: &[T], b: &[T], c: &mut [T]) {
        let Product { m, n, k, a: a_strides, b: b_strides } = *self;
        host.gemm(Gemm { m, n, k, a, a_strides, b, b_strides, c, c_strides: [n, 1], accumulate: false });
    }
}

/// Refuses factors of different types: kernels read both alike.
pub(crate) fn same_floats(a: &TensorDesc, b: &TensorDesc) -> Result<(), String> {
    if a.dtype == b.dtype && a.dtype.is_real() {
        return Ok(());
    }
    Err(format!(
        "takes factors of one float type, the inputs are {:?} {} and {:?} {}",
        a.dtype, a.shape, b.dtype, b.shape
    ))
}

/// A result of `dtype`, but f32 where rows of `columns` elements cannot be stored by fours as f16.
pub(crate) fn half_when_by_four(dtype: DType, shape: impl Into<Shape>, columns: usize) -> TensorDesc {
    let by_four = columns.is_multiple_of(4);
    TensorDesc { shape: shape.into(), dtype: if by_four { dtype } else { DType::F32 } }
}
