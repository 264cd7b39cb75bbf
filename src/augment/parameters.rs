use super::affine::Matrix;
use super::colour::{Colour, ColourOp};

/// Numbers of a sample's [`Parameters`].
pub const WORDS: usize = 40;

/// Colour operations of a sample; later ones are left out.
pub(super) const MOST_COLOURS: usize = 12;

const FIRST_COLOUR: usize = 14;

/// What is done to a sample, as the row of [`WORDS`] numbers that the operator takes.
///
/// | words | |
/// |---|---|
/// | 0..6 | `x = w0 (2 u + 1 - width) + w1 (2 v + 1 - height) + w2`, `y` by `w3, w4, w5`: where the pixel `(u, v)` is taken from, in pixels times 2^16 |
/// | 6, 7 | the window of the image, beyond which [`Edge`] says what there is: `first + 2^16 end` of columns and of rows |
/// | 8 | [`Edge`], and 4 where the nearest pixel is taken |
/// | 9..13 | two rectangles that become 0, as the window |
/// | 13 | number of colour operations |
/// | 14.. | each of them: [`ColourOp`] and its value |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters(pub [i32; WORDS]);

/// What lies beyond the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The nearest pixel of the window.
    Clamp = 0,
    /// Black.
    Black = 1,
    /// The window mirrored at its outermost pixels.
    Reflect = 2,
}

/// Columns and rows from `first` to before `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rectangle {
    /// Columns.
    pub columns: [u32; 2],
    /// Rows.
    pub rows: [u32; 2],
}

impl Rectangle {
    /// A whole image of this height and width.
    pub fn whole([height, width]: [usize; 2]) -> Rectangle {
        Rectangle { columns: [0, width as u32], rows: [0, height as u32] }
    }

    fn words(self) -> [i32; 2] {
        [self.columns, self.rows].map(|[first, end]| (first | end << 16) as i32)
    }

    fn of(words: [i32; 2]) -> Rectangle {
        let [columns, rows] = words.map(|word| [word as u32 & 0xffff, word as u32 >> 16]);
        Rectangle { columns, rows }
    }

    /// Whether the pixel in this column and row is inside.
    pub fn holds(self, column: u32, row: u32) -> bool {
        let within = |[first, end]: [u32; 2], at| first <= at && at < end;
        within(self.columns, column) && within(self.rows, row)
    }
}

impl Parameters {
    pub(super) fn new(matrix: Matrix, window: Rectangle, edge: Edge, nearest: bool) -> Parameters {
        let mut words = [0; WORDS];
        words[..6].copy_from_slice(&matrix.words());
        words[6..8].copy_from_slice(&window.words());
        words[8] = edge as i32 | i32::from(nearest) << 2;
        Parameters(words)
    }

    /// Makes one of the two rectangles 0.
    pub(super) fn erase(&mut self, slot: usize, rectangle: Rectangle) {
        self.0[9 + 2 * slot..][..2].copy_from_slice(&rectangle.words());
    }

    /// Appends a colour operation.
    pub(super) fn push(&mut self, Colour { op, value }: Colour) {
        let count = self.0[13] as usize;
        if count < MOST_COLOURS {
            self.0[FIRST_COLOUR + 2 * count..][..2].copy_from_slice(&[op as i32, value]);
            self.0[13] += 1;
        }
    }

    /// The matrix: the first six words.
    pub(super) fn matrix(&self) -> &[i32] {
        &self.0[..6]
    }

    /// The part of the image that is used.
    pub fn window(&self) -> Rectangle {
        Rectangle::of([self.0[6], self.0[7]])
    }

    /// What lies beyond it.
    pub fn edge(&self) -> Edge {
        match self.0[8] & 3 {
            1 => Edge::Black,
            2 => Edge::Reflect,
            _ => Edge::Clamp,
        }
    }

    /// Whether the nearest pixel is taken.
    pub fn nearest(&self) -> bool {
        self.0[8] & 4 != 0
    }

    /// What becomes 0 after normalisation.
    pub fn erased(&self) -> [Rectangle; 2] {
        [0, 1].map(|slot| Rectangle::of([self.0[9 + 2 * slot], self.0[10 + 2 * slot]]))
    }

    /// The colour operations in their order.
    pub fn colours(&self) -> impl Iterator<Item = Colour> {
        let count = (self.0[13].max(0) as usize).min(MOST_COLOURS);
        let pairs = self.0[FIRST_COLOUR..].as_chunks::<2>().0;
        pairs[..count].iter().map(|&[op, value]| Colour { op: ColourOp::of(op), value })
    }
}
