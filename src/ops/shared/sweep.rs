//! How the windows of a convolution move over images on the CPU: which pixels they see, and the part of the images that
//! some of them see, framed by zeros. With these a convolution is a sum of products over shifted views.

use std::ops::Range;

use super::window::Window;
use crate::graph::{Host, Real};

/// One direction of a sweep: output `i`, at pixel `start + i every` of the target, sees pixels `first + i step + distance`
/// of the source.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) count: usize,
    pub(crate) start: usize,
    pub(crate) every: usize,
    pub(crate) step: usize,
    first: isize,
    /// By distance from the first.
    pub(crate) taps: Vec<Tap>,
}

/// One row or column of a filter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    pub(crate) distance: usize,
    /// r or s
    pub(crate) number: usize,
}

/// A window along one direction.
#[derive(Clone, Copy, Debug)]
struct Along {
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
}

impl Along {
    fn both(window: &Window) -> [Along; 2] {
        let Window { kernel, stride, padding, dilation, .. } = window;
        [
            Along { kernel: kernel.h, stride: stride.h, padding: padding.h, dilation: dilation.h },
            Along { kernel: kernel.w, stride: stride.w, padding: padding.w, dilation: dilation.w },
        ]
    }
}

impl Axis {
    /// Of a forward pass, for height and width: `outputs` windows, a stride apart.
    pub(crate) fn forward(window: &Window, outputs: [usize; 2]) -> [Axis; 2] {
        let axis = |along: Along, count| Axis {
            count,
            start: 0,
            every: 1,
            step: along.stride,
            first: -(along.padding as isize),
            taps: (0..along.kernel).map(|tap| Tap { distance: tap * along.dilation, number: tap }).collect(),
        };
        let [height, width] = Along::both(window);
        [axis(height, outputs[0]), axis(width, outputs[1])]
    }

    /// Of the gradient of the input, for height and width: its `size` pixels by their remainder by the stride. Those of
    /// one remainder are seen through the same taps.
    pub(crate) fn phases(window: &Window, size: [usize; 2]) -> [Vec<Axis>; 2] {
        let phase = |along: Along, size: usize, start: usize| {
            let source = |tap: usize| (start + along.padding) as isize - (tap * along.dilation) as isize;
            let taps =
                (0..along.kernel).rev().filter(|tap| source(*tap).rem_euclid(along.stride as isize) == 0);
            let seen: Vec<(isize, usize)> =
                taps.map(|tap| (source(tap).div_euclid(along.stride as isize), tap)).collect();
            let first = seen.first().map_or(0, |(pixel, _)| *pixel);
            let taps = seen
                .iter()
                .map(|(pixel, number)| Tap { distance: (pixel - first) as usize, number: *number });
            Axis {
                count: (size - start).div_ceil(along.stride),
                start,
                every: along.stride,
                step: 1,
                first,
                taps: taps.collect(),
            }
        };
        let phases = |along: Along, size: usize| {
            (0..along.stride.min(size)).map(|start| phase(along, size, start)).collect()
        };
        let [height, width] = Along::both(window);
        [phases(height, size[0]), phases(width, size[1])]
    }

    /// The outputs among some pixels of the target.
    pub(crate) fn outputs(&self, pixels: &Range<usize>) -> Range<usize> {
        let before = |end: usize| end.saturating_sub(self.start).div_ceil(self.every).min(self.count);
        before(pixels.start)..before(pixels.end)
    }

    /// The pixels of the source that some outputs see, which may lie outside of it.
    fn seen(&self, outputs: &Range<usize>) -> Option<Range<isize>> {
        let last = self.taps.last().filter(|_| !outputs.is_empty())?;
        let first = |output: usize| self.first + (output * self.step) as isize;
        Some(first(outputs.start)..first(outputs.end - 1) + last.distance as isize + 1)
    }

    /// Where in a frame that begins at pixel `begin` the first tap of an output lies.
    pub(crate) fn place(&self, output: usize, begin: isize) -> usize {
        (self.first + (output * self.step) as isize - begin) as usize
    }
}

/// The rows and columns of images that some outputs see.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) images: Range<usize>,
    pub(crate) rows: Range<isize>,
    pub(crate) columns: Range<isize>,
}

/// A frame's pixels in memory: those of the images themselves, or a copy with zeros around them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pitch {
    /// Elements from one row to the next.
    pub(crate) row: usize,
    /// Elements from one image to the next.
    pub(crate) image: usize,
}

impl Frame {
    /// What the outputs of all phases at some rows of the target see; nothing if no tap meets a pixel.
    pub(crate) fn of<'a>(
        phases: impl Iterator<Item = [&'a Axis; 2]>,
        images: Range<usize>,
        pixels: &Range<usize>,
    ) -> Frame {
        let joined = |all: Option<Range<isize>>, more: Option<Range<isize>>| match (all, more) {
            (Some(a), Some(b)) => Some(a.start.min(b.start)..a.end.max(b.end)),
            (a, b) => a.or(b),
        };
        let (mut rows, mut columns) = (None, None);
        for [row, column] in phases {
            rows = joined(rows, row.seen(&row.outputs(pixels)));
            columns = joined(columns, column.seen(&(0..column.count)));
        }
        Frame { images, rows: rows.unwrap_or(0..0), columns: columns.unwrap_or(0..0) }
    }

    /// Elements of one image's frame.
    pub(crate) fn elements(&self, channels: usize) -> usize {
        self.rows.len() * self.columns.len() * channels
    }

    /// Calls `work` with the frame's pixels of a batch of images of this height, width and number of channels.
    pub(crate) fn with<T: Real>(
        &self,
        host: &dyn Host<T>,
        batch: &[T],
        size: [usize; 3],
        work: &mut dyn FnMut(&[T], Pitch),
    ) {
        let [height, width, channels] = size;
        let image = height * width * channels;
        let inside = |range: &Range<isize>, size: usize| range.start >= 0 && range.end <= size as isize;
        if inside(&self.rows, height) && inside(&self.columns, width) {
            let first = self.rows.start as usize * width + self.columns.start as usize;
            let pitch = Pitch { row: width * channels, image };
            return work(&batch[self.images.start * image + first * channels..], pitch);
        }
        let pitch = Pitch { row: self.columns.len() * channels, image: self.elements(channels) };
        host.with_scratch(self.images.len() * pitch.image, &mut |frame| {
            let images = batch[self.images.start * image..].chunks_exact(image);
            for (frame, image) in frame.chunks_exact_mut(pitch.image).zip(images) {
                for (row, frame) in self.rows.clone().zip(frame.chunks_exact_mut(pitch.row)) {
                    let source = usize::try_from(row).ok().filter(|row| *row < height);
                    let source = source.map(|row| &image[row * width * channels..][..width * channels]);
                    self.copy_row(source, channels, frame);
                }
            }
            work(frame, pitch);
        });
    }

    fn copy_row<T: Real>(&self, source: Option<&[T]>, channels: usize, frame: &mut [T]) {
        let Some(source) = source else { return frame.fill(T::zero()) };
        let width = source.len() / channels;
        let before = self.columns.start.min(0).unsigned_abs().min(self.columns.len());
        let first = self.columns.start.max(0) as usize;
        let inside = width.min(self.columns.end.max(0) as usize).saturating_sub(first);
        frame[..before * channels].fill(T::zero());
        frame[before * channels..][..inside * channels]
            .copy_from_slice(&source[first * channels..][..inside * channels]);
        frame[(before + inside) * channels..].fill(T::zero());
    }
}
