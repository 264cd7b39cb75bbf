//! Products of strided matrices: what `linear` and `matmul` have in common. Bindings and entry points are in
//! `shaders/shared/product.wgsl`.

use std::ops::Range;

use super::cooperative;
use super::epilogue::Epilogue;
use super::gemm_tile::{Problem, Tile, loads, middling, slabs};
use super::matrix::sum_rows;
use super::panels::Columns;
use super::partials::Partials;
use crate::graph::{Gemm, Host, Lower, PANEL, Part, Real, Slot, TensorDesc};
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
        if lower.is_whole() && cooperative::product(lower, self, [a, b], bias, epilogue) {
            return;
        }
        let Product { m, n, k, .. } = *self;
        let (slabs, slab_len) = slabs(k, middling(m, n));
        let problem =
            Problem { family, dtype: lower.inputs[0].dtype, sizes: [m, n, k], batch: slabs, window: [1, 1] };
        let kernel = Kernel { stem, tile: problem.choose(lower), slabs, slab_len, a, bias, epilogue };
        let windows = self.windows(lower, b);
        // Of an output in parts each part is made by itself; else all windows add to one.
        let in_parts = windows.len() > 1 && windows[0].output != Slot::Output(0);
        let together = if in_parts { 1 } else { windows.len() };
        for windows in windows.chunks(together) {
            self.lower_windows(lower, &kernel, windows);
        }
    }

    /// What dispatches make: all at once, unless `b` or the output lies in parts.
    fn windows(&self, lower: &Lower<'_>, b: Slot) -> Vec<Window> {
        let Product { m, n, k, .. } = *self;
        let (whole, output) = ([0..m, 0..n, 0..k], Slot::Output(0));
        let (of_b, of_output) = (lower.parts(b), lower.parts(output));
        if let [_, _, ..] = &of_output[..] {
            let [_, n, k] = whole;
            let window =
                |part: Part| Window { ranges: [part.rows, n.clone(), k.clone()], b, output: part.slot };
            return of_output.into_iter().map(window).collect();
        }
        if of_b.len() == 1 {
            return vec![Window { ranges: whole, b, output }];
        }
        let row_is = if self.b[0] == 1 { 1 } else { 2 };
        let window = |part: Part| {
            let mut ranges = whole.clone();
            ranges[row_is] = part.rows;
            Window { ranges, b: part.slot, output }
        };
        of_b.into_iter().map(window).collect()
    }

    /// Adds the dispatches of windows that make one output, or one part of it.
    fn lower_windows(&self, lower: &mut Lower<'_>, kernel: &Kernel, windows: &[Window]) {
        let Kernel { stem, tile, slabs, slab_len, a, bias, epilogue } = *kernel;
        let (dtype, result, n) = (lower.inputs[0].dtype, lower.outputs[0].dtype, self.n);
        let ([a_along_k, b_along_k], vectors) = self.access();
        let Window { ranges: [rows, _, terms], output, .. } = &windows[0];
        let count = rows.len() * n;
        // Sums that another dispatch goes on with are kept as they are.
        let kept = terms.len() < self.k && (result == DType::F16 || bias.is_some() || epilogue.is_some());
        let partials = (slabs > 1 || kept).then(|| Partials::new(lower, slabs, count));
        let (stored_in, stored) = partials.as_ref().map_or((*output, result), |p| (p.slot, DType::F32));
        let direct = partials.is_none();
        for Window { ranges: [rows, columns, terms], b, .. } in windows {
            let [tiles_m, tiles_n] = tile.count(rows.len(), columns.len());
            let dispatch = lower
                .dispatch(stem, "product")
                .read("a", a)
                .read("b", *b)
                .read("bias", bias.unwrap_or(*b))
                .write("output", stored_in)
                .uniforms(&[("first_m", rows.start), ("first_n", columns.start), ("first_k", terms.start)])
                .uniforms(&[("m", rows.end), ("n", columns.end), ("k", terms.end)])
                .uniforms(&[("slabs", slabs), ("slab_len", slab_len)])
                .uniforms(&[("tiles_m", tiles_m), ("tiles_n", tiles_n)])
                .uniform("slab_stride", count.next_multiple_of(4))
                .uniform("a_stride", if a_along_k { self.a[0] } else { self.a[1] })
                .uniform("b_stride", if b_along_k { self.b[1] } else { self.b[0] })
                .uniform("output_stride", n)
                .uniform("has_bias", bias.is_some() && direct)
                .constant("A_ALONG_K", a_along_k)
                .constant("B_ALONG_K", b_along_k)
                .constant("CONTINUES", terms.start > 0)
                .snippet(loads(dtype, vectors[0] && vectors[1]))
                .stores(stored, !n.is_multiple_of(4));
            let dispatch = Epilogue::constants(epilogue.filter(|_| direct), dispatch);
            tile.constants(dispatch, vectors).groups(tiles_m * tiles_n * slabs);
        }
        if let Some(partials) = partials {
            partials.reduce(lower, (stem, *output), bias.map(|bias| (bias, n)), epilogue);
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

/// How a product is made, whichever part of it.
struct Kernel {
    stem: &'static str,
    tile: Tile,
    slabs: usize,
    slab_len: usize,
    a: Slot,
    bias: Option<Slot>,
    epilogue: Option<Epilogue>,
}

/// What one dispatch makes of a product.
struct Window {
    /// Rows, columns, and terms of the sums.
    ranges: [Range<usize>; 3],
    /// `b`, or the part of its rows that is used.
    b: Slot,
    /// The output, or the part of its rows that is made.
    output: Slot,
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
