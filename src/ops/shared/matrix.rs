//! Sums over the columns of a matrix, which is how an image batch lies in memory: rows N H W, columns C.

use super::simd::{Loop, store_vectors, vectorised, vectors};
use super::unary::CHUNK;
use crate::graph::{Host, Real, Simd};

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
        // Estimates, not measured on a large GPU: 2^16 invocations that do four columns each fill one; slabs longer than
        // 512 lose digits, slabs shorter than 16 are mostly overhead.
        let wanted = ((1 << 16) / columns.div_ceil(4)).clamp(1, 1024);
        let slab_len = rows.div_ceil(wanted).clamp(16, 512);
        Matrix { rows, columns, slabs: rows.div_ceil(slab_len), slab_len }
    }

    /// A batch of images, whose slabs are whole rows of pixels or whole images, as near as that comes to the others: a
    /// kernel that makes them some rows at a time can sum what it has just made.
    pub(crate) fn of_images([images, channels, height, width]: [usize; 4]) -> Matrix {
        let even = Matrix::new(images * height * width, channels);
        let image = height * width;
        let slab_len = if even.slab_len >= image {
            even.slab_len / image * image
        } else {
            let divisors = (1..=height).filter(|rows| height.is_multiple_of(*rows));
            divisors.map(|rows| rows * width).find(|len| 2 * len > even.slab_len).unwrap_or(image)
        };
        Matrix { slabs: even.rows.div_ceil(slab_len), slab_len, ..even }
    }

    /// The fields as the shaders' `params` have them.
    pub(crate) fn uniforms(&self) -> [(&'static str, usize); 4] {
        [("rows", self.rows), ("columns", self.columns), ("slabs", self.slabs), ("slab_len", self.slab_len)]
    }

    /// How many fours of columns there are.
    pub(crate) fn quads(&self) -> usize {
        self.columns.div_ceil(4)
    }

    /// Elements of two sums for each column, padded to fours, and slab.
    pub(crate) fn partials(&self) -> usize {
        2 * self.slabs * 4 * self.quads()
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
    pub(crate) fn slab<'a, T>(&self, data: &'a [T], slab: usize) -> &'a [T] {
        let first = slab * self.slab_len;
        &data[first * self.columns..(first + self.slab_len).min(self.rows) * self.columns]
    }

    /// Writes each column's mean and its sum of squared deviations, merged from those of the slabs as the shader does it.
    pub(crate) fn statistics<T: Real>(
        &self,
        host: &dyn Host<T>,
        input: &[T],
        mean: &mut [T],
        squares: &mut [T],
    ) {
        let columns = self.columns;
        host.with_scratch(self.slabs * 2 * columns, &mut |partials| {
            host.for_each_chunk(partials, 2 * columns, &|slab, partial| {
                let (means, squares) = partial.split_at_mut(columns);
                ColumnStatistics { rows: self.slab(input, slab), means, squares }.vectorised();
            });
            self.merge(partials, mean, squares);
        });
    }

    /// Merges slabs of n_i rows with mean m_i and squares s_i: mean = sum n_i m_i / n, squares = sum s_i + n_i (m_i - mean)^2
    pub(crate) fn merge<T: Real>(&self, partials: &[T], mean: &mut [T], squares: &mut [T]) {
        let columns = self.columns;
        let rows = |slab: usize| T::of(self.slab_len.min(self.rows - slab * self.slab_len) as f64);
        let count = T::of(self.rows as f64);
        let pivot = &partials[..columns];
        let mut near = vec![T::zero(); columns];
        for (slab, partial) in partials.chunks_exact(2 * columns).enumerate() {
            let values = partial.iter().zip(pivot);
            near.iter_mut().zip(values).for_each(|(sum, (m, pivot))| *sum += rows(slab) * (*m - *pivot));
        }
        near.iter_mut().zip(pivot).for_each(|(near, pivot)| *near = *pivot + *near / count);
        mean.fill(T::zero());
        squares.fill(T::zero());
        for (slab, partial) in partials.chunks_exact(2 * columns).enumerate() {
            let (means, slab_squares) = partial.split_at(columns);
            let values = near.iter().zip(means).zip(slab_squares);
            for ((rest, sum), ((near, slab_mean), slab_squares)) in
                mean.iter_mut().zip(&mut *squares).zip(values)
            {
                let deviation = *slab_mean - *near;
                let weighted = rows(slab) * deviation;
                *rest += weighted;
                *sum += *slab_squares + weighted * deviation;
            }
        }
        mean.iter_mut().zip(&near).for_each(|(mean, near)| *mean = *near + *mean / count);
    }
}

/// Vectors of neighbouring columns whose sums stay in registers: several, so that additions wait less for each other.
pub(crate) const VECTORS: usize = 4;

/// Mean and sum of squared deviations of each column. Deviations are taken from the first row and then from the mean, so
/// that a mean that is large beside the deviation costs no digits; what rounding has left of them corrects the mean.
pub(crate) struct ColumnStatistics<'a, T> {
    pub(crate) rows: &'a [T],
    pub(crate) means: &'a mut [T],
    pub(crate) squares: &'a mut [T],
}

impl<T: Real> Loop for ColumnStatistics<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (width, mut first) = (T::width::<S>(), 0);
        while first < self.means.len() {
            let left = self.means.len() - first;
            first += if left >= VECTORS * width {
                self.columns_at::<S, VECTORS>(simd, first, width)
            } else if left >= width {
                self.columns_at::<S, 1>(simd, first, width)
            } else {
                self.columns_at::<S, 1>(simd, first, left)
            };
        }
    }
}

impl<T: Real> ColumnStatistics<'_, T> {
    /// Those of `V` vectors of `len` columns; gives their number.
    #[inline(always)]
    fn columns_at<S: Simd, const V: usize>(&mut self, simd: S, first: usize, len: usize) -> usize {
        let columns = self.means.len();
        let count = T::splat(simd, T::of((self.rows.len() / columns) as f64));
        let zero = T::splat(simd, T::zero());
        let pivot = vectors::<T, S, V>(simd, &self.rows[first..], len);
        let mut sums = [zero; V];
        for row in self.rows.chunks_exact(columns) {
            let row = vectors::<T, S, V>(simd, &row[first..], len);
            for v in 0..V {
                sums[v] = T::plus(simd, sums[v], T::minus(simd, row[v], pivot[v]));
            }
        }
        let mut near = pivot;
        for v in 0..V {
            near[v] = T::plus(simd, near[v], T::over(simd, sums[v], count));
        }
        let (mut rest, mut squares) = ([zero; V], [zero; V]);
        for row in self.rows.chunks_exact(columns) {
            let row = vectors::<T, S, V>(simd, &row[first..], len);
            for v in 0..V {
                let deviation = T::minus(simd, row[v], near[v]);
                rest[v] = T::plus(simd, rest[v], deviation);
                squares[v] = T::plus(simd, squares[v], T::times(simd, deviation, deviation));
            }
        }
        for v in 0..V {
            near[v] = T::plus(simd, near[v], T::over(simd, rest[v], count));
        }
        store_vectors(simd, &mut self.means[first..], near, len);
        store_vectors(simd, &mut self.squares[first..], squares, len);
        V * len
    }
}

/// `out[c] = sum over rows of data[row, c]`, in blocks of rows so that rounding grows slowly.
pub(crate) fn sum_rows<T: Real>(host: &dyn Host<T>, data: &[T], columns: usize, out: &mut [T]) {
    const BLOCK: usize = 128;
    /// Columns that keep vectors busy; narrower rows are joined.
    const WIDE: usize = 64;
    if data.len() <= BLOCK * columns {
        return host.for_each_chunk(out, CHUNK, &|chunk, out| {
            out.fill(T::zero());
            add_rows(data, columns, chunk * CHUNK, out);
        });
    }
    let joined = (WIDE / columns).max(1) * columns;
    let (wide, rest) = data.split_at(data.len() / joined * joined);
    let blocks = wide.len().div_ceil(BLOCK * joined);
    host.with_scratch((blocks + 1) * joined, &mut |sums| {
        let (total, partials) = sums.split_at_mut(joined);
        host.for_each_chunk(partials, joined, &|block, partial| {
            let last = ((block + 1) * BLOCK * joined).min(wide.len());
            partial.fill(T::zero());
            add_rows(&wide[block * BLOCK * joined..last], joined, 0, partial);
        });
        sum_rows(host, partials, joined, total);
        out.fill(T::zero());
        add_rows(total, columns, 0, out);
        add_rows(rest, columns, 0, out);
    });
}

/// Adds rows to `out`, from one of their columns on.
fn add_rows<T: Real>(data: &[T], columns: usize, first: usize, out: &mut [T]) {
    vectorised(|| {
        for row in data.chunks_exact(columns) {
            for (sum, value) in out.iter_mut().zip(&row[first..]) {
                *sum += *value;
            }
        }
    });
}
