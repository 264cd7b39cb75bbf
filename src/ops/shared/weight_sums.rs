//! `conv2d`'s gradient of the weight on the CPU: sums over all pixels, in slabs that follow from the shape alone.

use std::ops::Range;

use super::convolution::Dims;
use super::depthwise_host;
use super::matrix::sum_rows;
use super::sweep::{Axis, Frame, Pitch};
use crate::graph::{Gemm, Host, PANEL, Real};

/// `grad_weight[r, s] = sum over pixels of grad_output[p, q]^T input[p stride + r dilation - padding, ..]`
pub(crate) fn grad_weight<T: Real>(
    dims: &Dims,
    host: &dyn Host<T>,
    grad: &[T],
    input: &[T],
    output: &mut [T],
) {
    /// Elements of all partial sums: beyond that, their traffic costs more than more threads gain.
    const PARTIALS: usize = 1 << 21;
    /// Most slabs: enough for the threads of a large machine.
    const SLABS: usize = 16;
    let dims = &dims.flattened();
    if dims.depthwise() {
        return depthwise_host::grad_weight(dims, host, grad, input, output);
    }
    let sums = WeightSums::new(dims, grad, input);
    let slabs = (PARTIALS / output.len()).clamp(1, SLABS);
    let blocks = sums.blocks.len();
    let per_slab = blocks.div_ceil(slabs);
    let slabs = blocks.div_ceil(per_slab);
    let filters = sums.filters();
    let piece = filters * dims.taps();
    let work = |i: usize, sum: &mut [T]| {
        let (part, slab) = (i / slabs, i % slabs);
        let blocks = &sums.blocks[slab * per_slab..((slab + 1) * per_slab).min(blocks)];
        sum.fill(T::zero());
        blocks.iter().for_each(|block| sums.add(host, block, part * filters..(part + 1) * filters, sum));
    };
    if slabs == 1 {
        return host.for_each_chunk(output, piece, &work);
    }
    // The slabs of a part of the filters lie together.
    host.with_scratch(slabs * output.len(), &mut |partials| {
        host.for_each_chunk(partials, piece, &work);
        for (partials, output) in partials.chunks(slabs * piece).zip(output.chunks_mut(piece)) {
            sum_rows(host, partials, piece, output);
        }
    });
}

/// Some rows of outputs of some images.
struct Block {
    images: Range<usize>,
    rows: Range<usize>,
}

struct WeightSums<'a, T> {
    dims: &'a Dims,
    axes: [Axis; 2],
    /// All outputs, some pixels at a time: enough to keep a tile busy, few enough to keep digits and stay in a cache.
    blocks: Vec<Block>,
    grad: &'a [T],
    input: &'a [T],
}

impl<'a, T: Real> WeightSums<'a, T> {
    fn new(dims: &'a Dims, grad: &'a [T], input: &'a [T]) -> WeightSums<'a, T> {
        const PIXELS: usize = 1024;
        let images = (PIXELS / (dims.p * dims.q)).clamp(1, dims.n);
        let rows = (PIXELS / dims.q).clamp(1, dims.p);
        let blocks = (0..dims.n).step_by(images).flat_map(|image| {
            (0..dims.p).step_by(rows).map(move |row| Block {
                images: image..(image + images).min(dims.n),
                rows: row..(row + rows).min(dims.p),
            })
        });
        let axes = Axis::forward(&dims.window, [dims.p, dims.q]);
        WeightSums { dims, axes, blocks: blocks.collect(), grad, input }
    }

    /// Filters whose gradients are one piece of work: a part of them that divides all, if there are many.
    fn filters(&self) -> usize {
        const FILTERS: usize = 128;
        const PARTS: usize = 16;
        let filters = self.dims.k;
        if self.dims.groups > 1 {
            return filters;
        }
        let part = (1..=PARTS).find(|parts| filters.is_multiple_of(*parts) && filters / parts <= FILTERS);
        filters / part.unwrap_or(1)
    }

    /// Adds the sum over a block of outputs, for some filters.
    fn add(&self, host: &dyn Host<T>, block: &Block, filters: Range<usize>, sum: &mut [T]) {
        let dims = self.dims;
        let axes = [&self.axes[0], &self.axes[1]];
        let frame = Frame::of(std::iter::once(axes), block.images.clone(), &block.rows);
        frame.with(host, self.input, [dims.h, dims.w, dims.c], &mut |input, pitch| {
            let runs = self.runs(block, &frame, pitch);
            for group in 0..dims.groups {
                // With several groups a piece has all filters.
                let first = group * dims.filters();
                let filters = if dims.groups > 1 { first..first + dims.filters() } else { filters.clone() };
                let sum = if dims.groups > 1 { &mut sum[first * dims.taps()..] } else { &mut *sum };
                self.products(host, (input, pitch), &runs, (group, filters), sum);
            }
        });
    }

    /// One run for each row of outputs: where its gradients begin, and its first window in the frame.
    fn runs(&self, block: &Block, frame: &Frame, pitch: Pitch) -> Vec<[usize; 2]> {
        let dims = self.dims;
        let [rows, columns] = &self.axes;
        let left = columns.place(0, frame.columns.start) * dims.c;
        let outputs = block.images.clone().flat_map(|image| block.rows.clone().map(move |row| [image, row]));
        outputs
            .map(|[image, row]| {
                let frame = (image - block.images.start) * pitch.image
                    + rows.place(row, frame.rows.start) * pitch.row
                    + left;
                [(image * dims.p + row) * dims.q * dims.k, frame]
            })
            .collect()
    }

    fn products(
        &self,
        host: &dyn Host<T>,
        (input, pitch): (&[T], Pitch),
        runs: &[[usize; 2]],
        (group, filters): (usize, Range<usize>),
        sum: &mut [T],
    ) {
        let (dims, depth) = (self.dims, self.dims.depth());
        let [rows, columns] = &self.axes;
        // Taps side by side in a row are so many more columns.
        let joined = if dims.groups == 1 && dims.window.dilation.w == 1 { columns.taps.len() } else { 1 };
        for r in &rows.taps {
            for s in columns.taps.iter().step_by(joined) {
                host.gemm(Gemm {
                    m: filters.len(),
                    n: joined * depth,
                    k: dims.q,
                    runs,
                    a: &self.grad[filters.start..],
                    a_strides: [1, dims.k],
                    b: &input[r.distance * pitch.row + s.distance * dims.c + group * depth..],
                    b_strides: [columns.step * dims.c, PANEL],
                    c: &mut sum[(r.number * columns.taps.len() + s.number) * depth..],
                    c_row: dims.taps(),
                    accumulate: true,
                });
            }
        }
    }
}
