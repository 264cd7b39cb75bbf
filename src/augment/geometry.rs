//! The geometry of a sample on the CPU. `shaders/augment.wgsl` computes the same whole numbers.

use std::ops::Range;

use super::parameters::{Edge, Parameters, Rectangle};
use crate::tensor::vectorised;

/// Bits of a bilinear weight: four bytes times two weights fit in 32 bits.
const WEIGHT: u32 = 11;

/// The weight of a pixel that is taken alone.
const ONE: u32 = 1 << WEIGHT;

/// Half of what four weighted bytes are divided by.
const HALF: u32 = 1 << (2 * WEIGHT - 1);

/// An image of bytes, `H, W, C`.
#[derive(Clone, Copy, Debug)]
pub struct Pixels<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Channels, height and width.
    pub image: [usize; 3],
}

impl Pixels<'_> {
    /// A transformed image of `[height, width]`, each channel by itself: `C, H, W`.
    pub fn transform(&self, parameters: &Parameters, wanted: [usize; 2], planes: &mut [u8]) {
        let [channels, ..] = self.image;
        let warp = Warp::new(parameters, self.image, wanted);
        match channels {
            3 => warp.run::<3>(self.bytes, planes),
            _ => {
                let planes = planes.chunks_exact_mut((wanted[0] * wanted[1]).max(1));
                planes.enumerate().for_each(|(channel, plane)| warp.run::<1>(&self.bytes[channel..], plane));
            }
        }
    }
}

/// What a transformation of an image needs.
struct Warp {
    /// `x` and `y` of a pixel: factors of its place from the middle, and a constant, in pixels of 2^16.
    places: [[i32; 3]; 2],
    nearest: bool,
    /// Columns and rows.
    axes: [Axis; 2],
    /// Bytes from a pixel to the next, and from a row to the next.
    steps: [usize; 2],
    wanted: [usize; 2],
}

/// A channel of a row or more, interpolated along the columns: bytes times a weight.
type Line = Vec<u32>;

impl Warp {
    fn new(parameters: &Parameters, [channels, height, width]: [usize; 3], wanted: [usize; 2]) -> Warp {
        let &[ax, bx, tx, ay, by, ty] = parameters.matrix() else { unreachable!("a matrix has six words") };
        let (window, edge) = (parameters.window(), parameters.edge());
        Warp {
            places: [[ax, bx, tx], [ay, by, ty]],
            nearest: parameters.nearest(),
            axes: [Axis::new(window.columns, edge, width), Axis::new(window.rows, edge, height)],
            steps: [channels, width * channels],
            wanted,
        }
    }

    /// Makes planes of the first `C` channels of `bytes`.
    fn run<const C: usize>(&self, bytes: &[u8], planes: &mut [u8]) {
        let [[_, bx, _], [ay, ..]] = self.places;
        match [bx, ay] {
            [0, 0] => self.along_axes::<C>(bytes, planes),
            _ => self.pixel_by_pixel::<C>(bytes, planes),
        }
    }

    /// Columns stay columns and rows stay rows: each is found once.
    fn along_axes<const C: usize>(&self, bytes: &[u8], planes: &mut [u8]) {
        let [height, width] = self.wanted;
        let [[ax, _, tx], [_, by, ty]] = self.places;
        let taps = |axis: usize, [factor, first]: [i32; 2], length: usize| -> Vec<Taps> {
            let places =
                (0..length as i32).map(|at| place_of([factor, 0, first], 2 * at + 1 - length as i32, 0));
            places.map(|at| self.axes[axis].taps(self.rounded(at)).times(self.steps[axis])).collect()
        };
        let (columns, rows) = (taps(0, [ax, tx], width), taps(1, [by, ty], height));
        if columns.iter().chain(&rows).all(Taps::is_one_pixel) {
            return copy::<C>(bytes, self.steps[0], [&columns, &rows], planes);
        }
        let mut lines = Lines { columns: &columns, kept: [usize::MAX; 2], lines: [vec![], vec![]] };
        for (row, taps) in rows.iter().enumerate() {
            let [upper, lower] = lines.of::<C>(bytes, taps);
            for (channel, plane) in planes.chunks_exact_mut(height * width).enumerate() {
                let lines = [upper, lower].map(|line| &line[channel * width..][..width]);
                between(lines, taps.weights, &mut plane[row * width..][..width]);
            }
        }
    }

    /// Any matrix: each pixel has a place of its own.
    fn pixel_by_pixel<const C: usize>(&self, bytes: &[u8], planes: &mut [u8]) {
        let [height, width] = self.wanted;
        let [columns, rows] = self.axes;
        for row in 0..height {
            let v = 2 * row as i32 + 1 - height as i32;
            for column in 0..width {
                let u = 2 * column as i32 + 1 - width as i32;
                let [x, y] = self.places.map(|numbers| self.rounded(place_of(numbers, u, v)));
                let put = |channel: usize, byte| planes[(channel * height + row) * width + column] = byte;
                let (xs, ys) = (columns.taps(x), rows.taps(y));
                self.blend::<C>(bytes, [xs, ys], put);
            }
        }
    }

    /// A place as it is, or in the middle of the nearest pixel.
    fn rounded(&self, place: i32) -> i32 {
        if self.nearest { place.wrapping_add(0x8000) & !0xffff } else { place }
    }

    /// Interpolates a pixel.
    #[inline(always)]
    fn blend<const C: usize>(&self, bytes: &[u8], [xs, ys]: [Taps; 2], mut put: impl FnMut(usize, u8)) {
        let pixel = |x: usize, y: usize| &bytes[x * self.steps[0] + y * self.steps[1]..][..C];
        let [[x0, x1], [y0, y1]] = [xs.at, ys.at];
        let corners = [pixel(x0, y0), pixel(x1, y0), pixel(x0, y1), pixel(x1, y1)];
        for channel in 0..C {
            let [a, b, c, d] = corners.map(|corner| u32::from(corner[channel]));
            let across = |left, right| xs.weights[0] * left + xs.weights[1] * right;
            let sum = ys.weights[0] * across(a, b) + ys.weights[1] * across(c, d);
            put(channel, ((sum + HALF) >> (2 * WEIGHT)) as u8);
        }
    }
}

/// Pixels that are taken as they are; `step` bytes lie from one to the next.
fn copy<const C: usize>(bytes: &[u8], step: usize, [columns, rows]: [&[Taps]; 2], planes: &mut [u8]) {
    let (width, area) = (columns.len(), columns.len() * rows.len());
    let run = Run::of(columns, step).filter(|_| step == C);
    for (row, down) in rows.iter().enumerate() {
        let line = row * width..(row + 1) * width;
        if let Some(run) = &run {
            for channel in 0..C {
                let line = &mut planes[channel * area..][line.clone()];
                line[..run.columns.start].fill(0);
                line[run.columns.end..].fill(0);
                let seen = &mut line[run.columns.clone()];
                match down.weights[0] {
                    0 => seen.fill(0),
                    _ => run.copy::<C>(&bytes[down.at[0] + run.first..], channel, seen),
                }
            }
            continue;
        }
        for (column, across) in columns.iter().enumerate() {
            let pixel = &bytes[down.at[0] + across.at[0]..][..C];
            let seen = down.weights[0] & across.weights[0] != 0;
            for channel in 0..C {
                planes[channel * area + line.start + column] = if seen { pixel[channel] } else { 0 };
            }
        }
    }
}

/// Columns that are neighbours in the image too, with nothing but black beside them.
struct Run {
    columns: Range<usize>,
    /// The byte at which the leftmost pixel of the image begins.
    first: usize,
    /// Whether they are in reverse order.
    reversed: bool,
}

impl Run {
    fn of(columns: &[Taps], step: usize) -> Option<Run> {
        let is_seen = |taps: &Taps| taps.weights[0] > 0;
        let start = columns.iter().position(is_seen)?;
        let seen = &columns[start..=columns.iter().rposition(is_seen)?];
        let (first, last) = (seen.first()?.at[0], seen.last()?.at[0]);
        let reversed = last < first;
        let next = |pair: &[Taps]| match reversed {
            false => pair[0].at[0] + step == pair[1].at[0],
            true => pair[0].at[0] == pair[1].at[0] + step,
        };
        let is_run = seen.iter().all(is_seen) && seen.windows(2).all(next);
        let columns = start..start + seen.len();
        is_run.then_some(Run { columns, first: if reversed { last } else { first }, reversed })
    }

    /// One channel of pixels of `C` bytes.
    fn copy<const C: usize>(&self, bytes: &[u8], channel: usize, to: &mut [u8]) {
        let pixels = &bytes.as_chunks::<C>().0[..to.len()];
        let reversed = self.reversed;
        vectorised(move || {
            if reversed {
                for (to, pixel) in to.iter_mut().zip(pixels.iter().rev()) {
                    *to = pixel[channel];
                }
            } else {
                for (to, pixel) in to.iter_mut().zip(pixels) {
                    *to = pixel[channel];
                }
            }
        });
    }
}

/// The last two rows that were interpolated along the columns: the next row of the image often needs them again.
struct Lines<'a> {
    columns: &'a [Taps],
    /// Where each begins.
    kept: [usize; 2],
    /// `C` channels one after another.
    lines: [Line; 2],
}

impl Lines<'_> {
    fn of<const C: usize>(&mut self, bytes: &[u8], rows: &Taps) -> [&Line; 2] {
        if self.kept[0] == rows.at[1] || self.kept[1] == rows.at[0] {
            self.kept.swap(0, 1);
            self.lines.swap(0, 1);
        }
        for (slot, &row) in rows.at.iter().enumerate() {
            if self.kept[slot] != row {
                self.kept[slot] = row;
                across::<C>(&bytes[row..], self.columns, &mut self.lines[slot]);
            }
        }
        [&self.lines[0], &self.lines[1]]
    }
}

/// Interpolates a row along its columns.
fn across<const C: usize>(row: &[u8], columns: &[Taps], line: &mut Line) {
    line.resize(C * columns.len(), 0);
    let mut channels = line.chunks_exact_mut(columns.len());
    let channels: [&mut [u32]; C] = std::array::from_fn(|_| channels.next().unwrap_or_default());
    for (column, Taps { at, weights }) in columns.iter().enumerate() {
        let [left, right] = at.map(|at| &row[at..][..C]);
        for channel in 0..C {
            channels[channel][column] =
                weights[0] * u32::from(left[channel]) + weights[1] * u32::from(right[channel]);
        }
    }
}

/// Interpolates between two rows.
fn between([upper, lower]: [&[u32]; 2], weights: [u32; 2], to: &mut [u8]) {
    let lines = upper.iter().zip(lower);
    vectorised(|| {
        for (to, (upper, lower)) in to.iter_mut().zip(lines) {
            *to = ((weights[0] * upper + weights[1] * lower + HALF) >> (2 * WEIGHT)) as u8;
        }
    });
}

/// Where a pixel is taken from: wrapping, as on a GPU, where a matrix is beyond all reason.
fn place_of([a, b, t]: [i32; 3], u: i32, v: i32) -> i32 {
    t.wrapping_add(a.wrapping_mul(u)).wrapping_add(b.wrapping_mul(v))
}

/// The two columns or rows that a pixel is taken from, each with its weight; that of black is 0.
#[derive(Clone, Copy)]
struct Taps {
    at: [usize; 2],
    weights: [u32; 2],
}

impl Taps {
    /// Places in bytes instead of columns or rows.
    fn times(self, step: usize) -> Taps {
        Taps { at: self.at.map(|at| at * step), ..self }
    }

    fn is_one_pixel(&self) -> bool {
        self.weights[1] == 0
    }
}

/// The columns or rows of the window.
#[derive(Clone, Copy)]
struct Axis {
    first: i32,
    last: i32,
    /// Between which of them both neighbours of a place are in the window.
    inner: [i32; 2],
    edge: Edge,
    length: usize,
}

impl Axis {
    fn new([first, end]: [u32; 2], edge: Edge, length: usize) -> Axis {
        let (first, last) = (first as i32, end as i32 - 1);
        Axis { first, last, inner: [first.max(0), last.min(length as i32 - 1)], edge, length }
    }

    /// What a place in pixels of 2^16 is interpolated from.
    #[inline(always)]
    fn taps(self, place: i32) -> Taps {
        let part = (place as u32 & 0xffff) >> (16 - WEIGHT);
        let whole = place >> 16;
        if whole >= self.inner[0] && whole < self.inner[1] {
            // Most places are of this kind.
            return Taps { at: [whole as usize, whole as usize + 1], weights: [ONE - part, part] };
        }
        let taps = [self.tap(whole, ONE - part), self.tap(whole.wrapping_add(1), part)];
        Taps { at: taps.map(|tap| tap.0), weights: taps.map(|tap| tap.1) }
    }

    /// The column or row that stands for `at`, and its weight: none where it is black.
    fn tap(self, at: i32, weight: u32) -> (usize, u32) {
        let Axis { first, last, edge, length, .. } = self;
        let mut inside = at;
        if at < first || at > last {
            match edge {
                Edge::Black => return (0, 0),
                Edge::Clamp => {}
                Edge::Reflect if at < first => inside = first.wrapping_add(first).wrapping_sub(at),
                Edge::Reflect => inside = last.wrapping_add(last).wrapping_sub(at),
            }
            inside = inside.min(last).max(first);
        }
        ((inside.max(0) as usize).min(length - 1), weight)
    }
}

impl Rectangle {
    /// Whether nothing is in it.
    pub fn is_empty(self) -> bool {
        self.columns[0] >= self.columns[1] || self.rows[0] >= self.rows[1]
    }
}
