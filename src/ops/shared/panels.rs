//! Right factors of matrix products in panels ([`PANEL`]): packed once, read by all rows of the left one.

use crate::graph::{Host, PANEL, Real};

/// A matrix within an array: `rows` for each of some taps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    /// How many columns.
    pub(crate) count: usize,
    /// From one column to the next.
    pub(crate) stride: usize,
    /// Rows of each tap.
    pub(crate) rows: usize,
    /// From one row to the next.
    pub(crate) row_stride: usize,
}

impl Columns {
    /// Elements of the panels of a matrix with the rows of so many taps.
    pub(crate) fn packed(&self, taps: usize) -> usize {
        self.count.next_multiple_of(PANEL) * taps * self.rows
    }

    /// Packs the rows of the taps that begin at these elements, one tap after the other. What is beyond the last column
    /// in the last panel stays as it is: nobody reads it.
    pub(crate) fn pack<T: Real>(&self, host: &dyn Host<T>, matrix: &[T], taps: &[usize], packed: &mut [T]) {
        let depth = taps.len() * self.rows;
        if depth == 0 {
            return;
        }
        host.for_each_chunk(packed, depth * PANEL, &|panel, packed| {
            let columns = (self.count - panel * PANEL).min(PANEL);
            let (taps, packed) = (taps.iter(), packed.chunks_exact_mut(self.rows * PANEL));
            for (tap, packed) in taps.zip(packed) {
                self.pack_tap(&matrix[tap + panel * PANEL * self.stride..], columns, packed);
            }
        });
    }

    fn pack_tap<T: Real>(&self, matrix: &[T], columns: usize, packed: &mut [T]) {
        /// Rows that are read at a time where columns are contiguous: a cache line of them.
        const ROWS: usize = 16;
        const BLOCK: usize = ROWS * PANEL;
        if self.stride == 1 {
            for (row, packed) in packed.chunks_exact_mut(PANEL).enumerate() {
                packed[..columns].copy_from_slice(&matrix[row * self.row_stride..][..columns]);
            }
            return;
        }
        for (block, packed) in packed.chunks_mut(ROWS * PANEL).enumerate() {
            let rows = packed.len() / PANEL;
            for column in 0..columns {
                let first = column * self.stride + block * ROWS * self.row_stride;
                let source = &matrix[first..first + (rows - 1) * self.row_stride + 1];
                match (source.as_array::<ROWS>(), packed.as_mut_array::<BLOCK>()) {
                    (Some(source), Some(packed)) => {
                        (0..ROWS).for_each(|row| packed[row * PANEL + column] = source[row]);
                    }
                    _ => {
                        (0..rows).for_each(|row| packed[row * PANEL + column] = source[row * self.row_stride])
                    }
                }
            }
        }
    }
}
