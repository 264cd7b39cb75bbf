//! Products of strided matrices: what `linear` and `matmul` have in common. Bindings and entry points are in
//! `shaders/shared/product.wgsl`.

use super::cooperative;
use super::epilogue::Epilogue;
use super::gemm_tile::{Problem, loads, middling, slabs};
use super::matrix::sum_rows;
use super::panels::Columns;
use super::partials::Partials;
use crate::graph::{Gemm, Host, Lower, PANEL, Real, Slot, TensorDesc};
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
        if cooperative::product(lower, self, [a, b], bias, epilogue) {
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

    /// `c = a b` on the host: rows in parallel, or slabs of a long sum if there are few rows and columns.
    pub(crate) fn eval<T: Real>(&self, host: &dyn Host<T>, a: &[T], b: &[T], c: &mut [T]) {
        /// Rows that pay for packing a row-major factor, whose rows are far apart in memory.
        const ROWS: usize = 256;
        let Product { m, n, k, .. } = *self;
        let columns = Columns { count: n, stride: self.b[1], rows: k, row_stride: self.b[0] };
        if self.b[1] == 1 && m < ROWS {
            return self.eval_panels(host, a, (b, [self.b[0], PANEL]), c);
        }
        host.with_scratch(columns.packed(1), &mut |packed| {
            columns.pack(host, b, &[0], packed);
            let slabs = self.slabs();
            if slabs == 1 {
                return self.eval_panels(host, a, (packed, [PANEL, k * PANEL]), c);
            }
            let depth = k.div_ceil(slabs);
            host.with_scratch(k.div_ceil(depth) * m * n, &mut |partials| {
                host.for_each_chunk(partials, m * n, &|slab, partial| {
                    let first = slab * depth;
                    let part = Product { k: depth.min(k - first), ..*self };
                    let b = &packed[first * PANEL..];
                    part.rows(host, &a[first * self.a[1]..], (b, [PANEL, k * PANEL]), partial);
                });
                sum_rows(host, partials, m * n, c);
            });
        });
    }

    /// Into how many parts the sums of few elements are cut, by shape only.
    fn slabs(&self) -> usize {
        /// Elements that keep several threads busy by themselves.
        const ELEMENTS: usize = 2048;
        /// Terms below which a slab is busy with its results.
        const DEPTH: usize = 1024;
        if self.m * self.n > ELEMENTS { 1 } else { (self.k / DEPTH).clamp(1, 16) }
    }

    fn eval_panels<T: Real>(&self, host: &dyn Host<T>, a: &[T], b: (&[T], [usize; 2]), c: &mut [T]) {
        /// Multiply-adds below which another thread does not pay.
        const WORK: usize = 1 << 20;
        let Product { m, n, k, .. } = *self;
        let pieces = (m * n * k / WORK).clamp(1, 4 * host.threads());
        let rows = m.div_ceil(pieces);
        host.for_each_chunk(c, rows * n, &|chunk, c| {
            let part = Product { m: c.len() / n, ..*self };
            part.rows(host, &a[chunk * rows * self.a[0]..], b, c);
        });
    }

    /// The product on one thread, some terms at a time: sums of parts keep more digits.
    fn rows<T: Real>(&self, host: &dyn Host<T>, a: &[T], (b, b_strides): (&[T], [usize; 2]), c: &mut [T]) {
        const TERMS: usize = 1024;
        let Product { m, n, k, .. } = *self;
        for first in (0..k).step_by(TERMS) {
            host.gemm(Gemm {
                m,
                n,
                k: TERMS.min(k - first),
                runs: &[[first * self.a[1], first * b_strides[0]]],
                a,
                a_strides: self.a,
                b,
                b_strides,
                c,
                c_row: n,
                accumulate: first > 0,
            });
        }
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
