//! Sums over the columns of a matrix, which is how an image batch lies in memory: rows N H W, columns C.

use super::unary::CHUNK;
use crate::graph::{Host, Real};

/// A row-major matrix whose columns are summed in slabs of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix {
    pub rows: usize,
    pub columns: usize,
    /// How many slabs.
    pub slabs: usize,
    /// Rows of each but the last.
    pub slab_len: usize,
}

impl Matrix {
    /// With slabs that follow from the shape only, so that results are reproducible.
    pub(crate) fn new(rows: usize, columns: usize) -> Matrix {
        // Estimates, not measured on a large GPU: 2^15 invocations fill one; slabs longer than 512 lose digits, slabs
        // shorter than 16 are mostly overhead.
        let wanted = ((1 << 15) / columns).clamp(1, 1024);
        let slab_len = rows.div_ceil(wanted).clamp(16, 512);
        Matrix { rows, columns, slabs: rows.div_ceil(slab_len), slab_len }
    }

    /// The fields as the shaders' `params` have them.
    pub(crate) fn uniforms(&self) -> [(&'static str, usize); 4] {
        [("rows", self.rows), ("columns", self.columns), ("slabs", self.slabs), ("slab_len", self.slab_len)]
    }

    /// Calls `work` with the first element and the elements of each group of rows, in parallel.
    pub(crate) fn for_each_row<T: Real>(
        &self,
        host: &dyn Host<T>,
        data: &mut [T],
        work: &(dyn Fn(usize, &mut [T]) + Sync),
    ) {
        let chunk = CHUNK.div_ceil(self.columns) * self.columns;
        host.for_each_chunk(data, chunk, &|i, rows| work(i * chunk, rows));
    }

    /// The elements of a slab.
    fn slab<'a, T>(&self, data: &'a [T], slab: usize) -> &'a [T] {
        let first = slab * self.slab_len;
        &data[first * self.columns..(first + self.slab_len).min(self.rows) * self.columns]
    }

    /// Writes each column's mean and returns its sum of squared deviations, merged from those of the slabs as the
    /// shader does it.
    pub(crate) fn statistics<T: Real>(&self, host: &dyn Host<T>, input: &[T], mean: &mut [T]) -> Vec<T> {
        let columns = self.columns;
        let mut partials = vec![T::zero(); self.slabs * 2 * columns];
        host.for_each_chunk(&mut partials, 2 * columns, &|slab, partial| {
            let (means, squares) = partial.split_at_mut(columns);
            column_statistics(self.slab(input, slab), means, squares);
        });
        let rows = |slab: usize| T::of(self.slab_len.min(self.rows - slab * self.slab_len) as f64);
        let count = T::of(self.rows as f64);
        let near: Vec<T> = {
            let pivot = &partials[..columns];
            let mut sums = vec![T::zero(); columns];
            for (slab, partial) in partials.chunks_exact(2 * columns).enumerate() {
                let values = partial.iter().zip(pivot);
                sums.iter_mut().zip(values).for_each(|(sum, (m, pivot))| *sum += rows(slab) * (*m - *pivot));
            }
            sums.iter().zip(pivot).map(|(sum, pivot)| *pivot + *sum / count).collect()
        };
        mean.fill(T::zero());
        let mut squares = vec![T::zero(); columns];
        for (slab, partial) in partials.chunks_exact(2 * columns).enumerate() {
            let (means, slab_squares) = partial.split_at(columns);
            let values = near.iter().zip(means).zip(slab_squares);
            for ((rest, sum), ((near, slab_mean), slab_squares)) in
                mean.iter_mut().zip(&mut squares).zip(values)
            {
                let deviation = *slab_mean - *near;
                let weighted = rows(slab) * deviation;
                *rest += weighted;
                *sum += *slab_squares + weighted * deviation;
            }
        }
        mean.iter_mut().zip(&near).for_each(|(mean, near)| *mean = *near + *mean / count);
        squares
    }

    /// Sums over the rows: of `grad`, then of `grad (input - mean)`.
    pub(crate) fn sums<T: Real>(&self, host: &dyn Host<T>, grad: &[T], input: &[T], mean: &[T]) -> Vec<T> {
        let columns = self.columns;
        let mut partials = vec![T::zero(); self.slabs * 2 * columns];
        host.for_each_chunk(&mut partials, 2 * columns, &|slab, partial| {
            let (sums, products) = partial.split_at_mut(columns);
            let inputs = self.slab(input, slab).chunks_exact(columns);
            for (grad, input) in self.slab(grad, slab).chunks_exact(columns).zip(inputs) {
                let targets = sums.iter_mut().zip(products.iter_mut());
                for (((sum, product), dy), (x, mean)) in targets.zip(grad).zip(input.iter().zip(mean)) {
                    *sum += *dy;
                    *product += *dy * (*x - *mean);
                }
            }
        });
        let mut sums = vec![T::zero(); 2 * columns];
        sum_rows(host, &partials, 2 * columns, &mut sums);
        sums
    }
}

/// Mean and sum of squared deviations of each column. Deviations are taken from the first row and then from the mean, so
/// that a mean that is large beside the deviation costs no digits; what rounding has left of them corrects the mean.
pub(crate) fn column_statistics<T: Real>(rows: &[T], means: &mut [T], squares: &mut [T]) {
    let columns = means.len();
    let count = T::of((rows.len() / columns) as f64);
    let pivot = &rows[..columns];
    means.fill(T::zero());
    for row in rows.chunks_exact(columns) {
        means.iter_mut().zip(row.iter().zip(pivot)).for_each(|(sum, (x, pivot))| *sum += *x - *pivot);
    }
    let near: Vec<T> = means.iter().zip(pivot).map(|(sum, pivot)| *pivot + *sum / count).collect();
    means.fill(T::zero());
    squares.fill(T::zero());
    for row in rows.chunks_exact(columns) {
        for ((rest, sum), (near, x)) in means.iter_mut().zip(squares.iter_mut()).zip(near.iter().zip(row)) {
            let deviation = *x - *near;
            *rest += deviation;
            *sum += deviation * deviation;
        }
    }
    means.iter_mut().zip(&near).for_each(|(mean, near)| *mean = *near + *mean / count);
}

/// `out[c] = sum over rows of data[row, c]`, in blocks of rows so that rounding grows slowly.
pub(crate) fn sum_rows<T: Real>(host: &dyn Host<T>, data: &[T], columns: usize, out: &mut [T]) {
    const BLOCK: usize = 128;
    if data.len() <= BLOCK * columns {
        out.fill(T::zero());
        for row in data.chunks_exact(columns) {
            out.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
        }
        return;
    }
    let blocks = data.len().div_ceil(BLOCK * columns);
    let mut partials = vec![T::zero(); blocks * columns];
    host.for_each_chunk(&mut partials, columns, &|block, partial| {
        let last = ((block + 1) * BLOCK * columns).min(data.len());
        for row in data[block * BLOCK * columns..last].chunks_exact(columns) {
            partial.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
        }
    });
    sum_rows(host, &partials, columns, out);
}
