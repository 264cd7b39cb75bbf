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
        let mut physical = logical.to_vec();
        self.write_physical(logical, &mut physical);
        physical
    }

    /// The same into memory that is there.
    pub fn write_physical<T: Copy>(&self, logical: &[T], physical: &mut [T]) {
        let [pixels, channels] = self.pixels_and_channels();
        self.transpose(logical, physical, [channels, pixels]);
    }

    /// Reorders elements of this layout into row-major (PyTorch) order.
    pub fn to_logical<T: Copy>(&self, physical: &[T]) -> Vec<T> {
        let mut logical = physical.to_vec();
        let [pixels, channels] = self.pixels_and_channels();
        self.transpose(physical, &mut logical, [pixels, channels]);
        logical
    }

    /// A sample as a matrix; what is row-major in memory has one column.
    fn pixels_and_channels(&self) -> [usize; 2] {
        self.shape.as_4d().map_or([self.shape.numel(), 1], |[_, c, h, w]| [h * w, c])
    }

    /// Transposes the matrices of all samples.
    fn transpose<T: Copy>(&self, data: &[T], out: &mut [T], [rows, columns]: [usize; 2]) {
        let (wanted, given) = (self.shape.numel(), [data.len(), out.len()]);
        assert_eq!(given, [wanted; 2], "elements of a layout of {}", self.shape);
        if rows == 1 || columns == 1 {
            return out.copy_from_slice(data);
        }
        for (data, out) in data.chunks_exact(rows * columns).zip(out.chunks_exact_mut(rows * columns)) {
            for (column, out) in out.chunks_exact_mut(rows).enumerate() {
                let source = data[column..].iter().step_by(columns);
                out.iter_mut().zip(source).for_each(|(to, from)| *to = *from);
            }
        }
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
