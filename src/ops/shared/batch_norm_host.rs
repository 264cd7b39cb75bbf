//! CPU kernels of `batch_norm`. Rows are N H W, columns the channels C.

use super::epilogue::Epilogue;
use super::matrix::{LANES, Matrix, lanes, sum_rows};
use super::simd::vectorised_call;
use crate::graph::{Host, Real, View};

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
            vectorised_call(
                Self::normalize_rows,
                (self, data.epilogue, &data.input[first..], residual, rows),
            );
        });
    }

    #[inline(always)]
    fn normalize_rows((channels, epilogue, input, residual, output): Rows<'_, T>) {
        let columns = channels.mean.len();
        for (i, (row, source)) in
            output.chunks_exact_mut(columns).zip(input.chunks_exact(columns)).enumerate()
        {
            channels.affine(source, row);
            if let Some(residual) = residual {
                row.iter_mut().zip(&residual[i * columns..]).for_each(|(y, r)| *y += *r);
            }
            if let Some(epilogue) = epilogue {
                epilogue.apply(row);
            }
        }
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
                vectorised_call(Self::slab_sums, (self, data.epilogue, slabs, partial));
            });
            sum_rows(host, partials, 2 * columns, &mut all);
        });
        all
    }

    #[inline(always)]
    fn slab_sums((channels, epilogue, slabs, to): (&Self, Option<Epilogue>, [&[T]; 2], &mut [T])) {
        let columns = channels.mean.len();
        let (sums, products) = to.split_at_mut(columns);
        let mut first = 0;
        while first < columns {
            let to = [&mut sums[first..], &mut products[first..]];
            first += match columns - first {
                LANES.. => channels.lane_sums::<LANES>(epilogue, slabs, first, to),
                16.. => channels.lane_sums::<16>(epilogue, slabs, first, to),
                4.. => channels.lane_sums::<4>(epilogue, slabs, first, to),
                _ => channels.lane_sums::<1>(epilogue, slabs, first, to),
            };
        }
    }

    /// The sums of neighbouring channels, which stay in registers; gives their number.
    #[inline(always)]
    fn lane_sums<const L: usize>(
        &self,
        epilogue: Option<Epilogue>,
        [grad, input]: [&[T]; 2],
        first: usize,
        [to_sums, to_products]: [&mut [T]; 2],
    ) -> usize {
        let [mean, scale, bias] =
            [&self.mean, &self.scale, &self.bias].map(|of| *lanes::<T, L>(&of[first..]));
        let (mut sums, mut products) = ([T::zero(); L], [T::zero(); L]);
        let columns = self.mean.len();
        for (grad, input) in grad.chunks_exact(columns).zip(input.chunks_exact(columns)) {
            let (mut dz, mut deviation) = (*lanes::<T, L>(&grad[first..]), *lanes::<T, L>(&input[first..]));
            (0..L).for_each(|lane| deviation[lane] -= mean[lane]);
            if let Some(epilogue) = epilogue {
                let mut slope = deviation;
                (0..L).for_each(|lane| slope[lane] = slope[lane] * scale[lane] + bias[lane]);
                epilogue.derive(&mut slope);
                (0..L).for_each(|lane| dz[lane] *= slope[lane]);
            }
            for lane in 0..L {
                sums[lane] += dz[lane];
                products[lane] += dz[lane] * deviation[lane];
            }
        }
        to_sums[..L].copy_from_slice(&sums);
        to_products[..L].copy_from_slice(&products);
        L
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
            vectorised_call(Self::grad_rows, (self, data.epilogue, inputs, terms, rows));
        });
    }

    #[inline(always)]
    fn grad_rows((channels, epilogue, [grad, input], terms, output): GradRows<'_, T>) {
        let columns = channels.mean.len();
        let sources = grad.chunks_exact(columns).zip(input.chunks_exact(columns));
        for (row, (grad, input)) in output.chunks_exact_mut(columns).zip(sources) {
            match epilogue {
                None => row.copy_from_slice(grad),
                Some(epilogue) => {
                    channels.affine(input, row);
                    epilogue.derive(row);
                    row.iter_mut().zip(grad).for_each(|(slope, dy)| *slope *= *dy);
                }
            }
            let Some([offset, slope]) = terms else {
                row.iter_mut().zip(&channels.scale).for_each(|(dx, scale)| *dx *= *scale);
                continue;
            };
            let channels = channels.mean.iter().zip(&channels.scale).zip(offset.iter().zip(slope));
            for ((dx, x), ((mean, scale), (offset, slope))) in row.iter_mut().zip(input).zip(channels) {
                *dx = *scale * (*dx - *offset - (*x - *mean) * *slope);
            }
        }
    }
}

/// What some rows of the output are made from: channels, epilogue, input, residual.
type Rows<'a, T> = (&'a Channels<T>, Option<Epilogue>, &'a [T], Option<&'a [T]>, &'a mut [T]);

/// The same for the gradient: channels, epilogue, gradient of the output and input, offset and slope of each channel.
type GradRows<'a, T> = (&'a Channels<T>, Option<Epilogue>, [&'a [T]; 2], Option<[&'a [T]; 2]>, &'a mut [T]);
