//! CPU kernels of `conv2d`: sums of matrix products over shifted views of the images, so that nothing like an im2col
//! matrix is ever stored. Letters as in `conv2d`.

use std::ops::Range;

use super::convolution::{Dims, common_divisor};
use super::depthwise_host::Row;
use super::matrix::ColumnStatistics;
use super::panels::Columns;
use super::simd::Loop;
use super::sweep::{Axis, Frame, Pitch};
use crate::graph::{Gemm, Host, PANEL, Real};

/// What a sweep writes.
pub(crate) struct Target<'a, T> {
    /// The pixels.
    pub(crate) pixels: &'a mut [T],
    /// Mean and sum of squared deviations of each channel in runs of so many pixels, if they are wanted: found as soon as
    /// the pixels are made, while these are in the cache.
    pub(crate) statistics: Option<(&'a mut [T], usize)>,
}

/// `output[p, q] = sum over taps of input[p stride + r dilation - padding, ..] weight[r, s] + bias`
pub(crate) fn forward<T: Real>(
    dims: &Dims,
    host: &dyn Host<T>,
    input: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    output: Target<'_, T>,
) {
    let dims = &dims.flattened();
    let depthwise = dims.depthwise();
    let sweep = Sweep {
        n: dims.n,
        source: [dims.h, dims.w, dims.c],
        target: [dims.p, dims.q, dims.k],
        groups: if depthwise { 1 } else { dims.groups },
        depthwise,
        phases: vec![Axis::forward(&dims.window, [dims.p, dims.q])],
    };
    let depth = dims.depth();
    let columns = Columns {
        count: if depthwise { dims.k } else { dims.filters() },
        stride: dims.taps(),
        rows: depth,
        row_stride: 1,
    };
    sweep.run(
        host,
        (columns, weight),
        &|[r, s]| (r * dims.window.kernel.w + s) * depth,
        (input, bias),
        output,
    );
}

/// `grad_input[h, w] = sum over taps of grad_output[p, q] weight[r, s]` with `p stride + r dilation - padding = h`: the
/// pixels whose rows and columns have the same remainder by the stride see the same taps, and are a convolution of their
/// own.
pub(crate) fn grad_input<T: Real>(
    dims: &Dims,
    host: &dyn Host<T>,
    grad: &[T],
    weight: &[T],
    output: &mut [T],
) {
    let dims = &dims.flattened();
    let depthwise = dims.depthwise();
    let [rows, columns] = Axis::phases(&dims.window, [dims.h, dims.w]);
    let pairs = rows.iter().flat_map(|row| columns.iter().map(|column| [row.clone(), column.clone()]));
    let sweep = Sweep {
        n: dims.n,
        source: [dims.p, dims.q, dims.k],
        target: [dims.h, dims.w, dims.c],
        groups: if depthwise { 1 } else { dims.groups },
        depthwise,
        phases: pairs.collect(),
    };
    let depth = dims.depth();
    let columns = if depthwise {
        Columns { count: dims.c, stride: dims.taps(), rows: 1, row_stride: 1 }
    } else {
        Columns { count: depth, stride: 1, rows: dims.filters(), row_stride: dims.taps() }
    };
    sweep.run(
        host,
        (columns, weight),
        &|[r, s]| (r * dims.window.kernel.w + s) * depth,
        (grad, None),
        Target { pixels: output, statistics: None },
    );
}

/// Windows that move over images: `target[i] = bias + sum over taps of source[i + tap] weights[tap]`.
struct Sweep {
    n: usize,
    /// Height, width and channels.
    source: [usize; 3],
    target: [usize; 3],
    /// Blocks of channels, each with its own filters; 1 if each channel has one filter.
    groups: usize,
    depthwise: bool,
    phases: Vec<[Axis; 2]>,
}

/// A phase's part of the packed weights: from this element on, panels of so many elements.
#[derive(Clone, Copy)]
struct Packed {
    first: usize,
    panel: usize,
}

impl Sweep {
    /// Packs the weights, as they are read by every output, and goes through all outputs. `tap` gives the place of a tap
    /// within a filter.
    fn run<T: Real>(
        &self,
        host: &dyn Host<T>,
        (columns, weight): (Columns, &[T]),
        tap: &dyn Fn([usize; 2]) -> usize,
        (source, bias): (&[T], Option<&[T]>),
        mut target: Target<'_, T>,
    ) {
        let taps = |[rows, columns]: &[Axis; 2]| -> Vec<usize> {
            let rows = rows.taps.iter();
            rows.flat_map(|r| columns.taps.iter().map(|s| tap([r.number, s.number]))).collect()
        };
        let len: usize = self.phases.iter().map(|phase| columns.packed(taps(phase).len())).sum();
        host.with_scratch(len * self.groups, &mut |packed| {
            let mut places = vec![];
            let mut first = 0;
            for taps in self.phases.iter().map(taps) {
                let len = columns.packed(taps.len());
                places.push(Packed { first, panel: taps.len() * columns.rows * PANEL });
                for group in 0..self.groups {
                    // Filters are the slowest dimension of the weights.
                    let filters = weight.len() / self.groups;
                    columns.pack(host, &weight[group * filters..], &taps, &mut packed[first..first + len]);
                    first += len;
                }
            }
            let weights = (&*packed, &places[..], bias);
            let [height, width, channels] = self.target;
            let run = target.statistics.as_ref().map_or(1, |(_, run)| *run);
            let rows = self.rows_of_a_piece(host.threads(), run / common_divisor(run, width));
            let piece = |i: usize, target: &mut [T]| {
                let (first, count) = (i * rows, target.len() / (width * channels));
                let images = first / height..(first + count).div_ceil(height);
                let pixels = if count < height { first % height..first % height + count } else { 0..height };
                self.piece(host, source, weights, (images, pixels), target);
            };
            let chunk = rows * width * channels;
            let Some((partials, _)) = &mut target.statistics else {
                return host.for_each_chunk(target.pixels, chunk, &piece);
            };
            let of_partials = (&mut **partials, rows * width / run * 2 * channels);
            host.for_each_chunk_pair((&mut *target.pixels, chunk), of_partials, &|i, pixels, partials| {
                piece(i, pixels);
                let runs = pixels.chunks(run * channels).zip(partials.chunks_exact_mut(2 * channels));
                for (run, (means, squares)) in runs.map(|(run, to)| (run, to.split_at_mut(channels))) {
                    ColumnStatistics { rows: run, means, squares }.vectorised();
                }
            });
        });
    }

    /// Rows of the target whose sources stay in a core's cache, some for each thread: whole images, or a part that
    /// divides an image and is divided by its phases; a multiple of `unit`. No output depends on it.
    fn rows_of_a_piece(&self, threads: usize, unit: usize) -> usize {
        /// Elements of a second-level cache, less room for the weights.
        const CACHE: usize = 96 << 10;
        let [height, _, channels] = [self.target[0], self.target[1], self.source[2]];
        let frame = Frame::of(self.axes(), 0..1, &(0..height)).elements(channels);
        let images = (CACHE / frame.max(1)).min(self.n / (2 * threads).max(1));
        let common = unit / common_divisor(unit, height) * height;
        if images > 0 {
            let pieces = self.n.div_ceil(images).next_multiple_of(threads);
            return (self.n.div_ceil(pieces) * height).next_multiple_of(common);
        }
        let pieces = frame.div_ceil(CACHE).max((4 * threads).div_ceil(self.n));
        let every = self.phases.iter().map(|[rows, _]| rows.every).max().unwrap_or(1);
        let mut divisors = (1..=height).filter(|rows| {
            height.is_multiple_of(*rows) && [every, unit].iter().all(|of| rows.is_multiple_of(*of))
        });
        divisors.rfind(|rows| rows * pieces <= height).unwrap_or(common)
    }

    fn axes(&self) -> impl Iterator<Item = [&Axis; 2]> {
        self.phases.iter().map(|[rows, columns]| [rows, columns])
    }

    /// The outputs at some rows of some images.
    fn piece<T: Real>(
        &self,
        host: &dyn Host<T>,
        source: &[T],
        (weights, places, bias): (&[T], &[Packed], Option<&[T]>),
        (images, pixels): (Range<usize>, Range<usize>),
        target: &mut [T],
    ) {
        let mut begun = false;
        if let Some(bias) = bias {
            let (first, others) = target.split_at_mut(self.target[1] * bias.len());
            first.chunks_exact_mut(bias.len()).for_each(|pixel| pixel.copy_from_slice(bias));
            others.chunks_exact_mut(first.len()).for_each(|row| row.copy_from_slice(first));
            begun = true;
        } else if self.axes().flatten().any(|axis| axis.taps.is_empty()) {
            target.fill(T::zero());
            begun = true;
        }
        let frame = Frame::of(self.axes(), images, &pixels);
        frame.with(host, source, self.source, &mut |source, pitch| {
            // Pixels that no tap meets, where the stride is larger than the window, stay zero.
            let seen = |axes: &[Axis; 2]| axes.iter().all(|axis| !axis.taps.is_empty());
            for (axes, place) in self.phases.iter().zip(places).filter(|(axes, _)| seen(axes)) {
                let phase = Phase { sweep: self, axes, frame: &frame, pitch, pixels: &pixels, begun };
                phase.run(host, source, (&weights[place.first..], place.panel), target);
            }
        });
    }
}

/// Outputs that see the same taps.
struct Phase<'a> {
    sweep: &'a Sweep,
    axes: &'a [Axis; 2],
    frame: &'a Frame,
    pitch: Pitch,
    pixels: &'a Range<usize>,
    begun: bool,
}

impl Phase<'_> {
    fn run<T: Real>(
        &self,
        host: &dyn Host<T>,
        source: &[T],
        (weights, panel): (&[T], usize),
        target: &mut [T],
    ) {
        /// Terms that are added up at a time: their weights stay in the cache, and sums of parts keep more digits.
        const TERMS: usize = 1536;
        if self.sweep.depthwise {
            return self.depthwise(source, (weights, panel), target);
        }
        let columns = self.sweep.target[2] / self.sweep.groups;
        let group = panel * columns.div_ceil(PANEL);
        let (runs, terms) = self.runs();
        for g in 0..self.sweep.groups {
            for (block, runs) in runs.chunks((TERMS / terms).max(1)).enumerate() {
                let accumulate = self.begun || block > 0;
                // Two panels at a time: as many as a tile has columns.
                for column in (0..columns).step_by(2 * PANEL) {
                    let columns = (columns - column).min(2 * PANEL);
                    let weights = (&weights[g * group + column / PANEL * panel..], panel);
                    let part = Products { runs, terms, group: g, column, columns, accumulate };
                    self.products(host, source, weights, part, target);
                }
            }
        }
    }

    /// Where source and weights of each run begin, and its terms. Taps side by side in a row are one run, because so are
    /// their channels.
    fn runs(&self) -> (Vec<[usize; 2]>, usize) {
        let [rows, columns] = self.axes;
        let channels = self.sweep.source[2];
        let depth = if self.sweep.depthwise { 1 } else { channels / self.sweep.groups };
        let matrices = self.sweep.groups == 1 && !self.sweep.depthwise;
        let contiguous = matrices && columns.taps.iter().enumerate().all(|(i, tap)| tap.distance == i);
        let joined = if contiguous { columns.taps.len() } else { 1 };
        let firsts =
            rows.taps.iter().flat_map(|r| columns.taps.iter().step_by(joined.max(1)).map(move |s| [r, s]));
        let terms = joined * depth;
        let places = firsts
            .enumerate()
            .map(|(i, [r, s])| [r.distance * self.pitch.row + s.distance * channels, i * terms * PANEL]);
        (places.collect(), terms)
    }

    /// For each row of outputs, the element of the source at its first tap and the element of the target where it begins.
    fn rows(&self) -> impl Iterator<Item = [usize; 2]> {
        let [rows, columns] = self.axes;
        let [height, width, channels] = self.sweep.target;
        let left = columns.place(0, self.frame.columns.start) * self.sweep.source[2];
        let height = height.min(self.pixels.len());
        (0..self.frame.images.len()).flat_map(move |image| {
            rows.outputs(self.pixels).map(move |output| {
                let place = rows.place(output, self.frame.rows.start);
                let row = image * height + rows.start + output * rows.every - self.pixels.start;
                let source = image * self.pitch.image + place * self.pitch.row + left;
                [source, (row * width + columns.start) * channels]
            })
        })
    }

    /// Products of one block of runs with some columns of the weights, a row of outputs at a time.
    fn products<T: Real>(
        &self,
        host: &dyn Host<T>,
        source: &[T],
        (weights, panel): (&[T], usize),
        part: Products<'_>,
        target: &mut [T],
    ) {
        let columns = &self.axes[1];
        let groups = self.sweep.groups;
        let [from, to] = [self.sweep.source[2], self.sweep.target[2]];
        for [first, pixel] in self.rows() {
            host.gemm(Gemm {
                m: columns.count,
                n: part.columns,
                k: part.terms,
                runs: part.runs,
                a: &source[first + part.group * from / groups..],
                a_strides: [columns.step * from, 1],
                b: weights,
                b_strides: [PANEL, panel],
                c: &mut target[pixel + part.group * to / groups + part.column..],
                c_row: columns.every * to,
                accumulate: part.accumulate,
            });
        }
    }

    /// The same for one filter per channel.
    fn depthwise<T: Real>(&self, source: &[T], (weights, panel): (&[T], usize), target: &mut [T]) {
        let columns = &self.axes[1];
        let channels = self.sweep.target[2];
        let (taps, _) = self.runs();
        for (i, first) in (0..channels).step_by(PANEL).enumerate() {
            for [source_first, pixel] in self.rows() {
                let row = Row {
                    taps: &taps,
                    source: &source[source_first + first..],
                    source_step: columns.step * channels,
                    weights: &weights[i * panel..],
                    target: &mut target[pixel + first..],
                    target_step: columns.every * channels,
                    outputs: columns.count,
                    channels: (channels - first).min(PANEL),
                    accumulate: self.begun,
                };
                row.vectorised();
            }
        }
    }
}

/// Which products: runs of some terms, a group, and columns of its weights.
struct Products<'a> {
    runs: &'a [[usize; 2]],
    terms: usize,
    group: usize,
    column: usize,
    columns: usize,
    accumulate: bool,
}
