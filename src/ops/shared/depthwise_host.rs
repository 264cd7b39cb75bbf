//! CPU kernels of depthwise convolutions: one filter per channel, all channels of a pixel side by side, so there is
//! nothing to multiply as a matrix. Letters as in `conv2d`.

use super::convolution::Dims;
use super::matrix::sum_rows;
use super::simd::vectorised;
use super::sweep::{Axis, Frame};
use crate::graph::{Host, Real};

/// Channels that are kept in registers.
const LANES: usize = 16;
/// Outputs that share a weight while it is in a register.
const OUTPUTS: usize = 4;

/// A row of outputs, for one panel of channels.
pub(crate) struct Row<'a, T> {
    /// Where the source and the weight of each tap begin.
    pub(crate) taps: &'a [[usize; 2]],
    pub(crate) source: &'a [T],
    /// From one output's first pixel to the next one's.
    pub(crate) source_step: usize,
    pub(crate) weights: &'a [T],
    pub(crate) target: &'a mut [T],
    /// From one output to the next.
    pub(crate) target_step: usize,
    pub(crate) outputs: usize,
    pub(crate) channels: usize,
    /// Whether to add to what is in the target.
    pub(crate) accumulate: bool,
}

impl<T: Real> Row<'_, T> {
    /// `target[i, c] (+)= sum over taps of source[i + tap, c] weights[tap, c]`
    pub(crate) fn run(mut self) {
        vectorised(|| {
            let wide = self.channels / LANES * LANES;
            for channel in (0..wide).step_by(LANES) {
                self.channels_at::<LANES>(channel);
            }
            let half = wide + (self.channels - wide) / 4 * 4;
            for channel in (wide..half).step_by(4) {
                self.channels_at::<4>(channel);
            }
            for channel in half..self.channels {
                self.channels_at::<1>(channel);
            }
        });
    }

    #[inline(always)]
    fn channels_at<const N: usize>(&mut self, channel: usize) {
        let several = self.outputs / OUTPUTS * OUTPUTS;
        for output in (0..several).step_by(OUTPUTS) {
            self.outputs_at::<N, OUTPUTS>(channel, output);
        }
        for output in several..self.outputs {
            self.outputs_at::<N, 1>(channel, output);
        }
    }

    #[inline(always)]
    fn outputs_at<const N: usize, const M: usize>(&mut self, channel: usize, output: usize) {
        let mut sums = [[T::zero(); N]; M];
        for [source, weight] in self.taps {
            let weights = block::<T, N>(&self.weights[weight + channel..]);
            for (m, sums) in sums.iter_mut().enumerate() {
                let pixel = block::<T, N>(&self.source[source + (output + m) * self.source_step + channel..]);
                for i in 0..N {
                    sums[i] += pixel[i] * weights[i];
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            let target = &mut self.target[(output + m) * self.target_step + channel..][..N];
            for (target, sum) in target.iter_mut().zip(sums) {
                *target = if self.accumulate { *target + *sum } else { *sum };
            }
        }
    }
}

#[inline(always)]
fn block<T, const N: usize>(from: &[T]) -> &[T; N] {
    from.first_chunk().expect("a row has all its channels")
}

/// `grad_weight[r, s, c] = sum over pixels of grad_output[p, q, c] input[p stride + r dilation - padding, .., c]`, in slabs
/// of images whose sums are added up in order.
pub(crate) fn grad_weight<T: Real>(
    dims: &Dims,
    host: &dyn Host<T>,
    grad: &[T],
    input: &[T],
    output: &mut [T],
) {
    /// Most slabs: enough for the threads of a large machine.
    const SLABS: usize = 16;
    let (len, taps) = (output.len(), dims.taps());
    let images = dims.n.div_ceil(SLABS);
    let axes = Axis::forward(&dims.window, [dims.p, dims.q]);
    host.with_scratch((dims.n.div_ceil(images) + 1) * len, &mut |sums| {
        let (total, partials) = sums.split_at_mut(len);
        host.for_each_chunk(partials, len, &|slab, partial| {
            partial.fill(T::zero());
            for image in slab * images..((slab + 1) * images).min(dims.n) {
                let frame = Frame::of(std::iter::once([&axes[0], &axes[1]]), image..image + 1, &(0..dims.p));
                frame.with(host, input, [dims.h, dims.w, dims.c], &mut |input, pitch| {
                    let grad = &grad[image * dims.p * dims.q * dims.c..];
                    add_image(dims, &axes, grad, (input, pitch.row), partial);
                });
            }
        });
        sum_rows(host, partials, len, total);
        for (tap, sums) in total.chunks_exact(dims.c).enumerate() {
            output.iter_mut().skip(tap).step_by(taps).zip(sums).for_each(|(to, sum)| *to = *sum);
        }
    });
}

/// Adds one image's sums to `sums`, taps by channels. The frame begins at the first tap of the first output.
fn add_image<T: Real>(
    dims: &Dims,
    [rows, columns]: &[Axis; 2],
    grad: &[T],
    (input, row_pitch): (&[T], usize),
    sums: &mut [T],
) {
    let (channels, step) = (dims.c, columns.step * dims.c);
    for p in 0..dims.p {
        let grad = &grad[p * dims.q * channels..][..dims.q * channels];
        for (r, s) in rows.taps.iter().flat_map(|r| columns.taps.iter().map(move |s| (r, s))) {
            let input =
                &input[(p * rows.step) * row_pitch + r.distance * row_pitch + s.distance * channels..];
            let sums = &mut sums[(r.number * columns.taps.len() + s.number) * channels..][..channels];
            vectorised(|| {
                let wide = channels / LANES * LANES;
                for channel in (0..wide).step_by(LANES) {
                    add_row::<T, LANES>((grad, channels), (input, step), channel, sums);
                }
                let half = wide + (channels - wide) / 4 * 4;
                for channel in (wide..half).step_by(4) {
                    add_row::<T, 4>((grad, channels), (input, step), channel, sums);
                }
                for channel in half..channels {
                    add_row::<T, 1>((grad, channels), (input, step), channel, sums);
                }
            });
        }
    }
}

/// Adds the products of two rows of pixels, for some channels. Every other pixel has a sum of its own, so that additions
/// need not wait for each other.
#[inline(always)]
fn add_row<T: Real, const N: usize>(
    (grad, grad_step): (&[T], usize),
    (input, input_step): (&[T], usize),
    channel: usize,
    sums: &mut [T],
) {
    let mut even = [T::zero(); N];
    let mut odd = [T::zero(); N];
    for (i, grad) in grad.chunks_exact(grad_step).enumerate() {
        let (grad, input) =
            (block::<T, N>(&grad[channel..]), block::<T, N>(&input[i * input_step + channel..]));
        let part = if i % 2 == 0 { &mut even } else { &mut odd };
        for i in 0..N {
            part[i] += grad[i] * input[i];
        }
    }
    let sums = &mut sums[channel..channel + N];
    sums.iter_mut().zip(even.iter().zip(odd)).for_each(|(sum, (even, odd))| *sum += *even + odd);
}
