//! Products of strided matrices: what `linear` and `matmul` have in common. Bindings and entry points are in
//! `shaders/shared/product.wgsl`.

use super::cooperative;
use super::gemm_tile::{Tile, slabs};
use super::matrix::sum_rows;
use super::panels::Columns;
use crate::graph::{Gemm, Host, Lower, PANEL, Real, Slot};

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

    /// Adds the dispatches of `Output(0) = a b + bias`, through the shader `stem`.
    pub(crate) fn lower(
        &self,
        lower: &mut Lower<'_>,
        stem: &'static str,
        [a, b]: [Slot; 2],
        bias: Option<Slot>,
    ) {
        if cooperative::product(lower, self, [a, b], bias) {
            return;
        }
        let Product { m, n, k, .. } = *self;
        let tile = Tile::choose(m, n);
        let [x, y] = tile.count(m, n);
        let (slabs, slab_len) = slabs(k, (x * y) as usize);
        let split = slabs > 1;
        let output = if split { lower.scratch(slabs * m * n) } else { Slot::Output(0) };
        let dispatch = lower
            .dispatch(stem, "product")
            .read("a", a)
            .read("b", b)
            .read("bias", bias.unwrap_or(b))
            .write("output", output)
            .uniforms(&[("m", m), ("n", n), ("k", k), ("slab_len", slab_len)])
            .uniforms(&[("a_m", self.a[0]), ("a_k", self.a[1]), ("b_k", self.b[0]), ("b_n", self.b[1])])
            .uniform("has_bias", bias.is_some() && !split);
        tile.constants(dispatch).workgroups([x, y, slabs as u32]);
        if split {
            let partials = Partials { slot: output, slabs, count: m * n, tile };
            partials.reduce(lower, stem, bias.map(|bias| (bias, n)));
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

/// Partial results of a sum that was split: `slabs` arrays of `count` elements.
pub(crate) struct Partials {
    /// Where they are.
    pub slot: Slot,
    /// How many.
    pub slabs: usize,
    /// Elements of each.
    pub count: usize,
    /// The tile that the shader is compiled with: the file is compiled as a whole.
    pub tile: Tile,
}

impl Partials {
    /// Adds the dispatch of `Output(0) = sum over slabs`, plus a bias for each of `n` columns.
    pub(crate) fn reduce(&self, lower: &mut Lower<'_>, stem: &'static str, bias: Option<(Slot, usize)>) {
        let (slot, n) = bias.unwrap_or((self.slot, self.count));
        let dispatch = lower
            .dispatch(stem, "reduce_slabs")
            .read("partials", self.slot)
            .read("bias", slot)
            .write("output", Slot::Output(0))
            .uniforms(&[("slabs", self.slabs), ("count", self.count), ("n", n)])
            .uniform("has_bias", bias.is_some());
        self.tile.constants(dispatch).over(self.count);
    }
}
