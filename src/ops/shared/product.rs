//! Products of strided matrices: what `linear` and `matmul` have in common. Bindings and entry points are in
//! `shaders/shared/product.wgsl`.

use super::cooperative;
use super::gemm_tile::{Tile, slabs};
use super::matrix::sum_rows;
use crate::graph::{Gemm, Host, Lower, Real, Slot};

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
