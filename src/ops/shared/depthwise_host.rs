//! CPU kernels of depthwise convolutions: one filter per channel, all channels of a pixel side by side, so there is
//! nothing to multiply as a matrix. Letters as in `conv2d`.

use super::convolution::Dims;
use super::matrix::sum_rows;
use super::simd::{Loop, store_vectors, vectors};
use super::sweep::{Axis, Frame};
use crate::graph::{Host, Real, Simd};

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

impl<T: Real> Loop for Row<'_, T> {
    /// `target[i, c] (+)= sum over taps of source[i + tap, c] weights[tap, c]`
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (width, mut channel) = (T::width::<S>(), 0);
        while channel < self.channels {
            let left = self.channels - channel;
            channel += if left >= 2 * width {
                self.channels_at::<S, 2>(simd, channel, width)
            } else if left >= width {
                self.channels_at::<S, 1>(simd, channel, width)
            } else {
                self.channels_at::<S, 1>(simd, channel, left)
            };
        }
    }
}

impl<T: Real> Row<'_, T> {
    /// All outputs for `V` vectors of `len` channels; gives their number.
    #[inline(always)]
    fn channels_at<S: Simd, const V: usize>(&mut self, simd: S, channel: usize, len: usize) -> usize {
        let several = self.outputs / OUTPUTS * OUTPUTS;
        for output in (0..several).step_by(OUTPUTS) {
            self.outputs_at::<S, V, OUTPUTS>(simd, [channel, len], output);
        }
        for output in several..self.outputs {
            self.outputs_at::<S, V, 1>(simd, [channel, len], output);
        }
        V * len
    }

    #[inline(always)]
    fn outputs_at<S: Simd, const V: usize, const M: usize>(
        &mut self,
        simd: S,
        [channel, len]: [usize; 2],
        output: usize,
    ) {
        let zero = T::splat(simd, T::zero());
        let mut sums = [[zero; V]; M];
        for [source, weight] in self.taps {
            let weights = vectors::<T, S, V>(simd, &self.weights[weight + channel..], len);
            for (m, sums) in sums.iter_mut().enumerate() {
                let pixel = &self.source[source + (output + m) * self.source_step + channel..];
                let pixel = vectors::<T, S, V>(simd, pixel, len);
                for v in 0..V {
                    sums[v] = T::plus(simd, sums[v], T::times(simd, pixel[v], weights[v]));
                }
            }
        }
        for (m, mut sums) in sums.into_iter().enumerate() {
            let target = &mut self.target[(output + m) * self.target_step + channel..];
            if self.accumulate {
                let before = vectors::<T, S, V>(simd, target, len);
                for v in 0..V {
                    sums[v] = T::plus(simd, before[v], sums[v]);
                }
            }
            store_vectors(simd, target, sums, len);
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
            ProductSums { grad: (grad, channels), input: (input, step), sums }.vectorised();
        }
    }
}

/// Pixels of a row, and the step from one to the next.
type Pixels<'a, T> = (&'a [T], usize);

/// Adds the products of two rows of pixels to the sums of all channels.
struct ProductSums<'a, T> {
    grad: Pixels<'a, T>,
    input: Pixels<'a, T>,
    sums: &'a mut [T],
}

impl<T: Real> Loop for ProductSums<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (width, mut channel) = (T::width::<S>(), 0);
        while channel < self.sums.len() {
            let left = self.sums.len() - channel;
            channel += if left >= 4 * width {
                self.channels_at::<S, 4>(simd, channel, width)
            } else if left >= width {
                self.channels_at::<S, 1>(simd, channel, width)
            } else {
                self.channels_at::<S, 1>(simd, channel, left)
            };
        }
    }
}

impl<T: Real> ProductSums<'_, T> {
    /// Adds the products of `V` vectors of `len` channels; gives their number. Every other pixel has a sum of its own, so
    /// that additions need not wait for each other.
    #[inline(always)]
    fn channels_at<S: Simd, const V: usize>(&mut self, simd: S, channel: usize, len: usize) -> usize {
        let ((grad, grad_step), (input, input_step)) = (self.grad, self.input);
        let mut sums = [[T::splat(simd, T::zero()); V]; 2];
        let pixels = grad.len() / grad_step;
        for pixel in (0..pixels).step_by(2) {
            for (i, sums) in sums.iter_mut().enumerate().take(pixels - pixel) {
                let grad = &grad[(pixel + i) * grad_step + channel..];
                let input = &input[(pixel + i) * input_step + channel..];
                let (a, b) = (vectors::<T, S, V>(simd, grad, len), vectors::<T, S, V>(simd, input, len));
                for v in 0..V {
                    sums[v] = T::plus(simd, sums[v], T::times(simd, a[v], b[v]));
                }
            }
        }
        let [mut all, odd] = sums;
        let target = &mut self.sums[channel..];
        let before = vectors::<T, S, V>(simd, target, len);
        for v in 0..V {
            all[v] = T::plus(simd, before[v], T::plus(simd, all[v], odd[v]));
        }
        store_vectors(simd, target, all, len);
        V * len
    }
}
