use super::Shape;

/// Where the elements of a logical shape lie in memory: one stride per logical dimension.
///
/// One rule serves both executors: four-dimensional tensors are channels-last (activations `N, H, W, C`, filters
/// `K, R, S, C`), all others are row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    shape: Shape,
    strides: Vec<usize>,
}

impl Layout {
    /// The physical layout of `shape`.
    pub fn of(shape: &Shape) -> Layout {
        let order: Vec<usize> = if shape.len() == 4 { vec![0, 2, 3, 1] } else { (0..shape.len()).collect() };
        let mut strides = vec![1; shape.len()];
        let mut step = 1;
        for &dim in order.iter().rev() {
            strides[dim] = step;
            step *= shape[dim];
        }
        Layout { shape: shape.clone(), strides }
    }

    /// How many elements of `shape` lie side by side before the next row or pixel begins: the channels of an image, the
    /// columns of a matrix.
    pub fn innermost(shape: &Shape) -> usize {
        if shape.len() == 4 { shape[1] } else { shape.last().copied().unwrap_or(1) }
    }

    /// Stride, in elements, of each logical dimension.
    pub fn strides(&self) -> &[usize] {
        &self.strides
    }

    /// Reorders row-major (PyTorch) elements into this layout.
    pub fn to_physical<T: Copy>(&self, logical: &[T]) -> Vec<T> {
        self.reorder(logical, |out, logical, (row_major, physical)| out[physical] = logical[row_major])
    }

    /// Reorders elements of this layout into row-major (PyTorch) order.
    pub fn to_logical<T: Copy>(&self, physical: &[T]) -> Vec<T> {
        self.reorder(physical, |out, data, (row_major, physical)| out[row_major] = data[physical])
    }

    fn reorder<T: Copy>(&self, data: &[T], place: impl Fn(&mut [T], &[T], (usize, usize))) -> Vec<T> {
        assert_eq!(
            data.len(),
            self.shape.numel(),
            "a layout of {} was given {} elements",
            self.shape,
            data.len()
        );
        let mut out = data.to_vec();
        let Some([n, c, h, w]) = self.shape.as_4d() else { return out };
        for sample in 0..n {
            for channel in 0..c {
                for pixel in 0..h * w {
                    let row_major = (sample * c + channel) * h * w + pixel;
                    let physical = (sample * h * w + pixel) * c + channel;
                    place(&mut out, data, (row_major, physical));
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_channels_last_and_round_trip() {
        let shape = Shape::from([2, 3, 2, 5]);
        let layout = Layout::of(&shape);
        assert_eq!(layout.strides(), [30, 1, 15, 3]);
        let logical: Vec<usize> = (0..60).collect();
        let physical = layout.to_physical(&logical);
        assert_eq!(&physical[..4], &[0, 10, 20, 1]);
        assert_eq!(layout.to_logical(&physical), logical);
    }

    #[test]
    fn matrices_are_row_major() {
        assert_eq!(Layout::of(&Shape::from([4, 7])).strides(), [7, 1]);
        assert_eq!(Layout::of(&Shape::from([])).strides(), [0; 0]);
    }
}
