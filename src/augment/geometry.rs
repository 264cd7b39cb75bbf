//! The geometry of a sample on the CPU. `shaders/augment.wgsl` computes the same whole numbers.

use super::parameters::{Edge, Parameters, Rectangle};

/// Bits of a bilinear weight: four bytes times two weights fit in 32 bits.
const WEIGHT: u32 = 11;

/// An image of bytes, `H, W, C`.
#[derive(Clone, Copy, Debug)]
pub struct Pixels<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Channels, height and width.
    pub image: [usize; 3],
}

impl Pixels<'_> {
    /// Calls `put` with the bytes of every pixel of a transformed image of `[height, width]`, in order.
    pub fn transform(&self, parameters: &Parameters, wanted: [usize; 2], mut put: impl FnMut(&[u8])) {
        let [channels, height, width] = self.image;
        let [out_height, out_width] = wanted.map(|length| length as i32);
        let &[ax, bx, tx, ay, by, ty] = parameters.matrix() else { unreachable!("a matrix has six words") };
        let axes = [
            Axis::new(parameters.window().columns, parameters.edge(), width),
            Axis::new(parameters.window().rows, parameters.edge(), height),
        ];
        let mut pixel = vec![0; channels];
        for row in 0..out_height {
            let v = 2 * row + 1 - out_height;
            for column in 0..out_width {
                let u = 2 * column + 1 - out_width;
                let x = at([ax, bx, tx], u, v);
                let y = at([ay, by, ty], u, v);
                if parameters.nearest() {
                    let taps = (
                        axes[0].tap(x.wrapping_add(0x8000) >> 16),
                        axes[1].tap(y.wrapping_add(0x8000) >> 16),
                    );
                    copy_or_black(self.pixel(taps), &mut pixel);
                } else {
                    self.interpolate(axes, [x, y], &mut pixel);
                }
                put(&pixel);
            }
        }
    }

    fn pixel(&self, (x, y): (Option<usize>, Option<usize>)) -> Option<&[u8]> {
        let [channels, _, width] = self.image;
        Some(&self.bytes[(y? * width + x?) * channels..][..channels])
    }

    fn interpolate(&self, [columns, rows]: [Axis; 2], [x, y]: [i32; 2], pixel: &mut [u8]) {
        let one = 1 << WEIGHT;
        let [fx, fy] = [x, y].map(|at| (at as u32 & 0xffff) >> (16 - WEIGHT));
        let [x, y] = [x, y].map(|at| at >> 16);
        let xs = [columns.tap(x), columns.tap(x.wrapping_add(1))];
        let ys = [rows.tap(y), rows.tap(y.wrapping_add(1))];
        let [wx, wy] = [fx, fy].map(|f| [one - f, f]);
        if fx | fy == 0 {
            return copy_or_black(self.pixel((xs[0], ys[0])), pixel);
        }
        let taps = [0, 1, 2, 3].map(|tap| self.pixel((xs[tap & 1], ys[tap >> 1])));
        let weights = [0, 1, 2, 3].map(|tap| wx[tap & 1] * wy[tap >> 1]);
        for (channel, byte) in pixel.iter_mut().enumerate() {
            let mut sum = 1 << (2 * WEIGHT - 1);
            for (tap, weight) in taps.iter().zip(weights) {
                sum += tap.map_or(0, |bytes| u32::from(bytes[channel])) * weight;
            }
            *byte = (sum >> (2 * WEIGHT)) as u8;
        }
    }
}

fn copy_or_black(bytes: Option<&[u8]>, pixel: &mut [u8]) {
    match bytes {
        Some(bytes) => pixel.copy_from_slice(bytes),
        None => pixel.fill(0),
    }
}

/// Where a pixel is taken from: wrapping, as on a GPU, where a matrix is beyond all reason.
fn at([a, b, t]: [i32; 3], u: i32, v: i32) -> i32 {
    t.wrapping_add(a.wrapping_mul(u)).wrapping_add(b.wrapping_mul(v))
}

/// The columns or rows of the window.
#[derive(Clone, Copy)]
struct Axis {
    first: i32,
    last: i32,
    edge: Edge,
    length: usize,
}

impl Axis {
    fn new([first, end]: [u32; 2], edge: Edge, length: usize) -> Axis {
        Axis { first: first as i32, last: end as i32 - 1, edge, length }
    }

    /// The column or row that stands for `at`; none where it is black.
    fn tap(self, at: i32) -> Option<usize> {
        let Axis { first, last, edge, length } = self;
        let mut inside = at;
        if at < first || at > last {
            match edge {
                Edge::Black => return None,
                Edge::Clamp => {}
                Edge::Reflect if at < first => inside = first.wrapping_add(first).wrapping_sub(at),
                Edge::Reflect => inside = last.wrapping_add(last).wrapping_sub(at),
            }
            inside = inside.min(last).max(first);
        }
        Some((inside.max(0) as usize).min(length - 1))
    }
}

impl Rectangle {
    /// Whether nothing is in it.
    pub fn is_empty(self) -> bool {
        self.columns[0] >= self.columns[1] || self.rows[0] >= self.rows[1]
    }
}
