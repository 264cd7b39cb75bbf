//! CPU kernels of `batch_norm`. Rows are N H W, columns the channels C.

use super::epilogue::Epilogue;
use super::matrix::{Matrix, VECTORS, sum_rows};
use super::simd::{Loop, store_vectors, vectors};
use crate::graph::{Host, Real, Simd, View};

/// What a channel's elements are shifted and scaled by: z = (x - mean) scale + bias, in the same bits in both passes.
pub(crate) struct Channels<T> {
    mean: Vec<T>,
    scale: Vec<T>,
    bias: Vec<T>,
}

/// What both passes read.
pub(crate) struct Data<'a, T> {
    pub host: &'a dyn Host<T>,
    pub matrix: &'a Matrix,
    pub input: &'a [T],
    pub epilogue: Option<Epilogue>,
}

impl<T: Real> Channels<T> {
    /// With weight and bias, if there are any.
    pub(crate) fn new(mean: &[T], invstd: &[T], affine: &[View<T>]) -> Channels<T> {
        let (scale, bias) = match affine {
            [weight, bias, ..] => {
                (invstd.iter().zip(weight.real).map(|(s, w)| *s * *w).collect(), bias.real.to_vec())
            }
            _ => (invstd.to_vec(), vec![T::zero(); invstd.len()]),
        };
        Channels { mean: mean.to_vec(), scale, bias }
    }

    /// epilogue(z + residual)
    pub(crate) fn normalize(&self, data: &Data<'_, T>, residual: Option<&[T]>, output: &mut [T]) {
        data.matrix.for_each_row(data.host, output, &|first, rows| {
            let residual = residual.map(|residual| &residual[first..]);
            let input = &data.input[first..];
            NormalizeRows { channels: self, epilogue: data.epilogue, input, residual, output: rows }
                .vectorised();
        });
    }

    #[inline(always)]
    fn affine(&self, source: &[T], row: &mut [T]) {
        let channels = self.mean.iter().zip(&self.scale).zip(&self.bias);
        for ((z, x), ((mean, scale), bias)) in row.iter_mut().zip(source).zip(channels) {
            *z = (*x - *mean) * *scale + *bias;
        }
    }

    /// Sums over the rows: of dz = dy epilogue'(z), then of dz (x - mean).
    pub(crate) fn gradient_sums(&self, data: &Data<'_, T>, grad: &[T]) -> Vec<T> {
        let Data { host, matrix, .. } = *data;
        let columns = matrix.columns;
        let mut all = vec![T::zero(); 2 * columns];
        host.with_scratch(matrix.slabs * 2 * columns, &mut |partials| {
            host.for_each_chunk(partials, 2 * columns, &|slab, partial| {
                let slabs = [matrix.slab(grad, slab), matrix.slab(data.input, slab)];
                SlabSums { channels: self, epilogue: data.epilogue, slabs, to: partial }.vectorised();
            });
            sum_rows(host, partials, 2 * columns, &mut all);
        });
        all
    }

    /// dx = scale (dz - mean of dz - (x - mean) slope), where the slope is invstd^2 times the mean of dz (x - mean);
    /// without sums, for constant statistics, dx = scale dz.
    pub(crate) fn grad_input(
        &self,
        data: &Data<'_, T>,
        grad: &[T],
        invstd: &[T],
        sums: Option<&[T]>,
        grad_input: &mut [T],
    ) {
        let columns = data.matrix.columns;
        let count = T::of(data.matrix.rows as f64);
        let (offset, slope): (Vec<T>, Vec<T>) = match sums.map(|sums| sums.split_at(columns)) {
            Some((of_grad, of_products)) => {
                let slope = |(sum, invstd): (&T, &T)| *sum * *invstd * *invstd / count;
                (
                    of_grad.iter().map(|sum| *sum / count).collect(),
                    of_products.iter().zip(invstd).map(slope).collect(),
                )
            }
            None => (vec![T::zero(); columns], vec![T::zero(); columns]),
        };
        let terms = sums.map(|_| [&offset[..], &slope]);
        data.matrix.for_each_row(data.host, grad_input, &|first, rows| {
            let inputs = [&grad[first..], &data.input[first..]];
            GradRows { channels: self, epilogue: data.epilogue, inputs, terms, output: rows }.vectorised();
        });
    }
}

/// Some rows of the normalised output.
struct NormalizeRows<'a, T> {
    channels: &'a Channels<T>,
    epilogue: Option<Epilogue>,
    input: &'a [T],
    residual: Option<&'a [T]>,
    output: &'a mut [T],
}

impl<T: Real> Loop for NormalizeRows<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let columns = self.channels.mean.len();
        let rows = self.output.chunks_exact_mut(columns).zip(self.input.chunks_exact(columns));
        for (i, (row, source)) in rows.enumerate() {
            self.channels.affine(source, row);
            if let Some(residual) = self.residual {
                for (y, r) in row.iter_mut().zip(&residual[i * columns..]) {
                    *y += *r;
                }
            }
            if let Some(epilogue) = self.epilogue {
                epilogue.apply(row);
            }
        }
    }
}

/// The two sums of the gradient over one slab.
struct SlabSums<'a, T> {
    channels: &'a Channels<T>,
    epilogue: Option<Epilogue>,
    /// Gradient of the output, and input.
    slabs: [&'a [T]; 2],
    to: &'a mut [T],
}

impl<T: Real> Loop for SlabSums<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (width, mut first) = (T::width::<S>(), 0);
        let columns = self.channels.mean.len();
        while first < columns {
            let left = columns - first;
            first += if left >= VECTORS * width {
                self.channels_at::<S, VECTORS>(simd, first, width)
            } else if left >= width {
                self.channels_at::<S, 1>(simd, first, width)
            } else {
                self.channels_at::<S, 1>(simd, first, left)
            };
        }
    }
}

impl<T: Real> SlabSums<'_, T> {
    /// The sums of `V` vectors of `len` channels, which stay in registers; gives their number.
    #[inline(always)]
    fn channels_at<S: Simd, const V: usize>(&mut self, simd: S, first: usize, len: usize) -> usize {
        let Channels { mean, scale, bias } = self.channels;
        let [mean, scale, bias] = [mean, scale, bias].map(|of| vectors::<T, S, V>(simd, &of[first..], len));
        let columns = self.channels.mean.len();
        let mut sums = [[T::splat(simd, T::zero()); V]; 2];
        let [grad, input] = self.slabs;
        for (grad, input) in grad.chunks_exact(columns).zip(input.chunks_exact(columns)) {
            let mut dz = vectors::<T, S, V>(simd, &grad[first..], len);
            let mut deviation = vectors::<T, S, V>(simd, &input[first..], len);
            for v in 0..V {
                deviation[v] = T::minus(simd, deviation[v], mean[v]);
            }
            if let Some(epilogue) = self.epilogue {
                let mut z = deviation;
                for v in 0..V {
                    z[v] = T::plus(simd, T::times(simd, z[v], scale[v]), bias[v]);
                }
                let slope = derivatives::<T, S, V>(simd, epilogue, z, len);
                for v in 0..V {
                    dz[v] = T::times(simd, dz[v], slope[v]);
                }
            }
            for v in 0..V {
                sums[0][v] = T::plus(simd, sums[0][v], dz[v]);
                sums[1][v] = T::plus(simd, sums[1][v], T::times(simd, dz[v], deviation[v]));
            }
        }
        let (to_sums, to_products) = self.to.split_at_mut(columns);
        store_vectors(simd, &mut to_sums[first..], sums[0], len);
        store_vectors(simd, &mut to_products[first..], sums[1], len);
        V * len
    }
}

/// The epilogue's derivative at z.
#[inline(always)]
fn derivatives<T: Real, S: Simd, const V: usize>(
    simd: S,
    epilogue: Epilogue,
    z: [T::Vector<S>; V],
    len: usize,
) -> [T::Vector<S>; V] {
    /// Numbers of `VECTORS` of the widest vectors that there are.
    const MOST: usize = VECTORS * 16;
    let mut slope = [T::zero(); MOST];
    store_vectors(simd, &mut slope, z, len);
    epilogue.derive(&mut slope[..V * len]);
    vectors(simd, &slope, len)
}

/// Some rows of the gradient.
struct GradRows<'a, T> {
    channels: &'a Channels<T>,
    epilogue: Option<Epilogue>,
    /// Gradient of the output, and input.
    inputs: [&'a [T]; 2],
    /// Offset and slope of each channel.
    terms: Option<[&'a [T]; 2]>,
    output: &'a mut [T],
}

impl<T: Real> Loop for GradRows<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let GradRows { channels, epilogue, inputs: [grad, input], terms, output } = self;
        let columns = channels.mean.len();
        let sources = grad.chunks_exact(columns).zip(input.chunks_exact(columns));
        for (row, (grad, input)) in output.chunks_exact_mut(columns).zip(sources) {
            match epilogue {
                None => row.copy_from_slice(grad),
                Some(epilogue) => {
                    channels.affine(input, row);
                    epilogue.derive(row);
                    for (slope, dy) in row.iter_mut().zip(grad) {
                        *slope *= *dy;
                    }
                }
            }
            let Some([offset, slope]) = terms else {
                for (dx, scale) in row.iter_mut().zip(&channels.scale) {
                    *dx *= *scale;
                }
                continue;
            };
            let channels = channels.mean.iter().zip(&channels.scale).zip(offset.iter().zip(slope));
            for ((dx, x), ((mean, scale), (offset, slope))) in row.iter_mut().zip(input).zip(channels) {
                *dx = *scale * (*dx - *offset - (*x - *mean) * *slope);
            }
        }
    }
}
