//! CPU kernels of depthwise convolutions: one filter per channel, all channels of a pixel side by side, so there is
//! nothing to multiply as a matrix. Letters as in `conv2d`.

use super::convolution::Dims;
use super::matrix::{lanes, sum_rows};
use super::simd::vectorised_call;
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
    pub(crate) fn run(self) {
        vectorised_call(Row::all_channels, self);
    }

    #[inline(always)]
    fn all_channels(mut self) {
        let mut channel = 0;
        while channel < self.channels {
            channel += match self.channels - channel {
                LANES.. => self.channels_at::<LANES>(channel),
                4.. => self.channels_at::<4>(channel),
                _ => self.channels_at::<1>(channel),
            };
        }
    }

    #[inline(always)]
    fn channels_at<const N: usize>(&mut self, channel: usize) -> usize {
        let several = self.outputs / OUTPUTS * OUTPUTS;
        for output in (0..several).step_by(OUTPUTS) {
            self.outputs_at::<N, OUTPUTS>(channel, output);
        }
        for output in several..self.outputs {
            self.outputs_at::<N, 1>(channel, output);
        }
        N
    }

    #[inline(always)]
    fn outputs_at<const N: usize, const M: usize>(&mut self, channel: usize, output: usize) {
        let mut sums = [[T::zero(); N]; M];
        for [source, weight] in self.taps {
            let weights = lanes::<T, N>(&self.weights[weight + channel..]);
            for (m, sums) in sums.iter_mut().enumerate() {
                let pixel = lanes::<T, N>(&self.source[source + (output + m) * self.source_step + channel..]);
                let products = pixel.iter().zip(weights);
                sums.iter_mut().zip(products).for_each(|(sum, (pixel, weight))| *sum += *pixel * *weight);
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
            vectorised_call(add_row, ((grad, channels), (input, step), sums));
        }
    }
}

/// Pixels of a row, and the step from one to the next.
type Pixels<'a, T> = (&'a [T], usize);

/// Adds the products of two rows of pixels to the sums of all channels.
#[inline(always)]
fn add_row<T: Real>((grad, input, sums): (Pixels<'_, T>, Pixels<'_, T>, &mut [T])) {
    let mut channel = 0;
    while channel < sums.len() {
        let sums = &mut sums[channel..];
        channel += match sums.len() {
            LANES.. => add_channels::<T, LANES>(grad, input, channel, sums),
            4.. => add_channels::<T, 4>(grad, input, channel, sums),
            _ => add_channels::<T, 1>(grad, input, channel, sums),
        };
    }
}

/// The same for some channels; gives their number. Every other pixel has a sum of its own, so that additions need not wait
/// for each other.
#[inline(always)]
fn add_channels<T: Real, const N: usize>(
    (grad, grad_step): Pixels<'_, T>,
    (input, input_step): Pixels<'_, T>,
    channel: usize,
    sums: &mut [T],
) -> usize {
    let (mut even, mut odd) = ([T::zero(); N], [T::zero(); N]);
    let pixels = grad.len() / grad_step;
    for pixel in (0..pixels).step_by(2) {
        add_pixel(&grad[pixel * grad_step + channel..], &input[pixel * input_step + channel..], &mut even);
        if pixel + 1 < pixels {
            let (grad, input) = (&grad[(pixel + 1) * grad_step..], &input[(pixel + 1) * input_step..]);
            add_pixel(&grad[channel..], &input[channel..], &mut odd);
        }
    }
    sums.iter_mut().zip(even.iter().zip(odd)).for_each(|(sum, (even, odd))| *sum += *even + odd);
    N
}

#[inline(always)]
fn add_pixel<T: Real, const N: usize>(grad: &[T], input: &[T], sums: &mut [T; N]) {
    let products = lanes::<T, N>(grad).iter().zip(lanes::<T, N>(input));
    sums.iter_mut().zip(products).for_each(|(sum, (grad, input))| *sum += *grad * *input);
}
