//! CPU kernels of the norms over sets of one sample. Sums run along pixels for each channel first, as neighbouring
//! channels are neighbours in memory, and then over the channels of a group.

use super::matrix::{ColumnStatistics, sum_rows};
use super::sample_norm::Sets;
use super::simd::Loop;
use super::unary::CHUNK;
use crate::graph::{Host, Real, View, ViewMut};

impl Sets {
    /// `(input[, weight[, bias]]) -> output, mean, invstd`
    pub(crate) fn forward<T: Real>(
        &self,
        host: &dyn Host<T>,
        eps: T,
        inputs: &[View<T>],
        outputs: &mut [ViewMut<T>],
    ) {
        let (channels, groups) = (self.channels, self.groups);
        let weight = self.parameter_rows(inputs.get(1), T::one());
        let bias = self.parameter_rows(inputs.get(2), T::zero());
        let sample = self.pixels * channels;
        let at_once = CHUNK.div_ceil(sample);
        let mut statistics = vec![T::zero(); 2 * self.count()]; // by sample, its groups' means and then their invstd
        let output = (&mut *outputs[0].real, at_once * sample);
        host.for_each_chunk_pair(
            output,
            (&mut statistics, at_once * 2 * groups),
            &|chunk, output, statistics| {
                let (mut means, mut scales) = (vec![T::zero(); channels], vec![T::zero(); channels]);
                let input = inputs[0].real[chunk * at_once * sample..].chunks_exact(sample);
                let output = output.chunks_exact_mut(sample).zip(statistics.chunks_exact_mut(2 * groups));
                for ((output, statistics), input) in output.zip(input) {
                    let (mean, invstd) = statistics.split_at_mut(groups);
                    self.statistics(input, eps, mean, invstd);
                    self.spread(mean, &mut means);
                    self.spread(invstd, &mut scales);
                    let rows = output.chunks_exact_mut(channels).zip(input.chunks_exact(channels));
                    for ((row, input), (weight, bias)) in rows.zip(weight.rows().zip(bias.rows())) {
                        let affine = weight.iter().zip(bias);
                        let channels = means.iter().zip(&scales).zip(affine);
                        for ((y, x), ((mean, scale), (w, b))) in row.iter_mut().zip(input).zip(channels) {
                            *y = (*x - *mean) * *scale * *w + *b;
                        }
                    }
                }
            },
        );
        for (set, sample) in statistics.chunks_exact(2 * groups).enumerate() {
            outputs[1].real[set * groups..][..groups].copy_from_slice(&sample[..groups]);
            outputs[2].real[set * groups..][..groups].copy_from_slice(&sample[groups..]);
        }
    }

    /// `(grad_output, input, mean, invstd[, weight]) -> grad_input`
    pub(crate) fn grad_input<T: Real>(&self, host: &dyn Host<T>, inputs: &[View<T>], grad_input: &mut [T]) {
        let [grad, input, mean, invstd] = [0, 1, 2, 3].map(|i| inputs[i].real);
        let (channels, groups) = (self.channels, self.groups);
        let weight = self.parameter_rows(inputs.get(4), T::one());
        let sample = self.pixels * channels;
        let at_once = CHUNK.div_ceil(sample);
        host.for_each_chunk(grad_input, at_once * sample, &|chunk, grad_input| {
            let [mut means, mut scales, mut offsets, mut slopes] =
                [(); 4].map(|()| vec![T::zero(); channels]);
            for (i, grad_input) in grad_input.chunks_exact_mut(sample).enumerate() {
                let n = chunk * at_once + i;
                let (grad, input) = (&grad[n * sample..][..sample], &input[n * sample..][..sample]);
                let invstd = &invstd[n * groups..][..groups];
                self.spread(&mean[n * groups..][..groups], &mut means);
                self.spread(invstd, &mut scales);
                self.grad_sums(grad, input, &weight, &means, [&mut offsets, &mut slopes]);
                self.average(&mut offsets, |_| T::one());
                self.average(&mut slopes, |group| invstd[group] * invstd[group]);
                let rows = grad.chunks_exact(channels).zip(input.chunks_exact(channels)).zip(weight.rows());
                for (row, ((grad, input), weight)) in grad_input.chunks_exact_mut(channels).zip(rows) {
                    let values = row.iter_mut().zip(grad).zip(input.iter().zip(weight));
                    let channels = means.iter().zip(&scales).zip(offsets.iter().zip(&slopes));
                    for (((dx, dy), (x, w)), ((mean, scale), (offset, slope))) in values.zip(channels) {
                        *dx = *scale * (*dy * *w - *offset - (*x - *mean) * *slope);
                    }
                }
            }
        });
    }

    /// `(grad_output, input, mean, invstd) -> grad_weight, grad_bias`
    pub(crate) fn grad_parameters<T: Real>(
        &self,
        host: &dyn Host<T>,
        inputs: &[View<T>],
        outputs: &mut [ViewMut<T>],
    ) {
        let [grad, input, mean, invstd] = [0, 1, 2, 3].map(|i| inputs[i].real);
        let (channels, groups) = (self.channels, self.groups);
        let matrix = self.matrix();
        let columns = matrix.columns;
        let slab = matrix.slab_len.min(matrix.rows.div_ceil(16)) * columns;
        let mut partials = vec![T::zero(); grad.len().div_ceil(slab) * 2 * columns];
        host.for_each_chunk(&mut partials, 2 * columns, &|i, partial| {
            let (to_weight, to_bias) = partial.split_at_mut(columns);
            let (mut means, mut scales) = (vec![T::zero(); channels], vec![T::zero(); channels]);
            let mut spread = usize::MAX;
            for at in (i * slab..((i + 1) * slab).min(grad.len())).step_by(channels) {
                let sample = at / (self.pixels * channels);
                if sample != spread {
                    self.spread(&mean[sample * groups..][..groups], &mut means);
                    self.spread(&invstd[sample * groups..][..groups], &mut scales);
                    spread = sample;
                }
                let targets = to_weight[at % columns..].iter_mut().zip(&mut to_bias[at % columns..]);
                let values = grad[at..][..channels].iter().zip(&input[at..][..channels]);
                let channels = means.iter().zip(&scales);
                for (((dw, db), (dy, x)), (mean, scale)) in targets.zip(values).zip(channels) {
                    *dw += *dy * (*x - *mean) * *scale;
                    *db += *dy;
                }
            }
        });
        let mut sums = vec![T::zero(); 2 * columns];
        sum_rows(host, &partials, 2 * columns, &mut sums);
        for (output, sums) in outputs.iter_mut().zip(sums.chunks_exact(columns)) {
            for (column, sum) in sums.iter().enumerate() {
                output.real[self.parameter_index(column)] = *sum;
            }
        }
    }

    /// Mean and 1/deviation of the sets of one sample.
    fn statistics<T: Real>(&self, sample: &[T], eps: T, mean: &mut [T], invstd: &mut [T]) {
        if self.groups == 1 {
            let (one, squares) = mean_and_squares(sample);
            (mean[0], invstd[0]) = (one, T::one() / (squares / T::of(sample.len() as f64) + eps).sqrt());
            return;
        }
        let channels = self.channels / self.groups;
        let (mut means, mut squares) = (vec![T::zero(); self.channels], vec![T::zero(); self.channels]);
        ColumnStatistics { rows: sample, means: &mut means, squares: &mut squares }.vectorised();
        let groups = means.chunks_exact(channels).zip(squares.chunks_exact(channels));
        for ((means, squares), (mean, invstd)) in groups.zip(mean.iter_mut().zip(invstd)) {
            let (one, between) = mean_and_squares(means);
            let squares = sum_of(squares, |s| s) + between * T::of(self.pixels as f64);
            (*mean, *invstd) = (one, T::one() / (squares / T::of(self.len() as f64) + eps).sqrt());
        }
    }

    /// For each channel of a sample, the sums over its pixels of `g = grad weight` and of `g (input - mean)`.
    fn grad_sums<T: Real>(
        &self,
        grad: &[T],
        input: &[T],
        weight: &ParameterRows<T>,
        means: &[T],
        [sums, products]: [&mut [T]; 2],
    ) {
        sums.fill(T::zero());
        products.fill(T::zero());
        let rows = grad.chunks_exact(self.channels).zip(input.chunks_exact(self.channels));
        for ((grad, input), weight) in rows.zip(weight.rows()) {
            let values = grad.iter().zip(weight).zip(input.iter().zip(means));
            let targets = sums.iter_mut().zip(products.iter_mut());
            for ((sum, product), ((dy, w), (x, mean))) in targets.zip(values) {
                *sum += *dy * *w;
                *product += *dy * *w * (*x - *mean);
            }
        }
    }

    /// Replaces each channel's sum by the average over its set, times a factor of the group.
    fn average<T: Real>(&self, sums: &mut [T], factor: impl Fn(usize) -> T) {
        for (group, sums) in sums.chunks_exact_mut(self.channels / self.groups).enumerate() {
            let average = sum_of(sums, |sum| sum) / T::of(self.len() as f64);
            sums.fill(average * factor(group));
        }
    }

    /// Gives each channel its group's number.
    fn spread<T: Real>(&self, groups: &[T], channels: &mut [T]) {
        for (channels, value) in channels.chunks_exact_mut(self.channels / self.groups).zip(groups) {
            channels.fill(*value);
        }
    }

    /// Where the parameter of a column (a pixel's channel in memory) is: for each channel or in the order C, H, W.
    fn parameter_index(&self, column: usize) -> usize {
        let pixels = self.parameters.numel() / self.channels;
        column % self.channels * pixels + column / self.channels
    }

    /// The parameters of each pixel's channels, or the constant if there are none.
    fn parameter_rows<T: Real>(&self, parameter: Option<&View<T>>, otherwise: T) -> ParameterRows<T> {
        let values = match parameter {
            Some(given) => {
                (0..given.real.len()).map(|column| given.real[self.parameter_index(column)]).collect()
            }
            None => vec![otherwise; self.channels],
        };
        ParameterRows { values, channels: self.channels }
    }
}

/// Weights or biases in the order of the memory: one row for all pixels, or one for each.
struct ParameterRows<T> {
    values: Vec<T>,
    channels: usize,
}

impl<T> ParameterRows<T> {
    /// The pixels' rows, over and over.
    fn rows(&self) -> impl Iterator<Item = &[T]> {
        self.values.chunks_exact(self.channels).cycle()
    }
}

/// The mean, and the sum of squared deviations from it, as [`ColumnStatistics`] computes them.
fn mean_and_squares<T: Real>(values: &[T]) -> (T, T) {
    let count = T::of(values.len() as f64);
    let pivot = values[0];
    let near = pivot + sum_of(values, |x| x - pivot) / count;
    let mean = near + sum_of(values, |x| x - near) / count;
    (mean, sum_of(values, |x| (x - near) * (x - near)))
}

/// The sum of a function, in interleaved parts that fit vector registers and round less.
fn sum_of<T: Real>(values: &[T], term: impl Fn(T) -> T) -> T {
    let mut lanes = [T::zero(); 16];
    let blocks = values.chunks_exact(lanes.len());
    let rest: T = blocks.remainder().iter().map(|value| term(*value)).sum();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, value)| *lane += term(*value));
    }
    lanes.iter().copied().sum::<T>() + rest
}
