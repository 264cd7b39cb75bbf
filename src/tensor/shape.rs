use std::fmt;
use std::ops::Deref;

/// A logical shape, in PyTorch's order of dimensions (`N, C, H, W` for images, `K, C, R, S` for filters).
#[derive(Clone, PartialEq, Eq, Hash, Default, serde::Serialize)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// Number of elements; 1 for a scalar.
    pub fn numel(&self) -> usize {
        self.0.iter().product()
    }

    /// Number of elements, if it fits into a `usize`.
    pub fn checked_numel(&self) -> Option<usize> {
        self.0.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim))
    }

    /// The four dimensions of an image batch or a filter, if there are four.
    pub fn as_4d(&self) -> Option<[usize; 4]> {
        self.0.as_slice().try_into().ok()
    }

    /// The two dimensions of a matrix, if there are two.
    pub fn as_2d(&self) -> Option<[usize; 2]> {
        self.0.as_slice().try_into().ok()
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Shape {
        Shape(dims)
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Shape {
        Shape(dims.to_vec())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Shape {
        Shape(dims.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
