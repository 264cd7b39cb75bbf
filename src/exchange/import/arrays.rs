//! Arrays of constants, and how their elements are moved and combined: what exporters leave for a runtime to compute before
//! it sees an image.

use super::super::tensors::{Array, count_of};
use super::shapes::place;

/// Most elements of what is computed, but for what has more already.
const MOST_ELEMENTS: usize = 1 << 24;

/// How an element of a result is found: for each of its dimensions the places along it, in steps of the source's elements.
struct Along {
    offsets: Vec<usize>,
}

impl<T: Copy> Array<T> {
    fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.dims.len()];
        for axis in (1..self.dims.len()).rev() {
            strides[axis - 1] = strides[axis] * self.dims[axis];
        }
        strides
    }

    /// Element `i` of each axis of the result lies `offsets[i]` further on.
    fn picked(&self, axes: &[Along], dims: Vec<usize>) -> Option<Array<T>> {
        let most = if self.values.len() > MOST_ELEMENTS { self.values.len() } else { MOST_ELEMENTS };
        count_of(&dims).filter(|count| *count <= most)?;
        let mut places = vec![0];
        for axis in axes {
            places =
                places.iter().flat_map(|base| axis.offsets.iter().map(move |offset| base + offset)).collect();
        }
        let values = places.into_iter().map(|place| self.values.get(place).copied());
        Some(Array { dims, values: values.collect::<Option<_>>()? })
    }

    /// Each axis as it is.
    fn axes(&self) -> Vec<Along> {
        let axes = self.dims.iter().zip(self.strides());
        axes.map(|(dim, stride)| Along { offsets: (0..*dim).map(|at| at * stride).collect() }).collect()
    }

    /// The same in other sizes.
    pub(super) fn reshaped(self, dims: Vec<usize>) -> Option<Array<T>> {
        (count_of(&dims) == Some(self.values.len())).then_some(Array { dims, ..self })
    }

    /// `Transpose`; without `perm` the dimensions in reverse.
    pub(super) fn transposed(&self, perm: Option<&[i64]>) -> Option<Array<T>> {
        let rank = self.dims.len();
        let reversed: Vec<i64> = (0..rank as i64).rev().collect();
        let from = perm.unwrap_or(&reversed).iter().map(|from| place(*from, rank));
        let from = from.collect::<Option<Vec<usize>>>().filter(|from| from.len() == rank)?;
        let mut axes: Vec<Option<Along>> = self.axes().into_iter().map(Some).collect();
        let dims = from.iter().map(|axis| self.dims[*axis]).collect();
        let axes: Option<Vec<Along>> = from.iter().map(|axis| axes[*axis].take()).collect();
        self.picked(&axes?, dims)
    }

    /// `Gather`: slices at places along an axis.
    pub(super) fn gathered(&self, axis: i64, places: &Array<i64>) -> Option<Array<T>> {
        let axis = place(axis, self.dims.len())?;
        let (stride, mut axes) = (self.strides()[axis], self.axes());
        let offsets = places.values.iter().map(|at| Some(place(*at, self.dims[axis])? * stride));
        axes[axis] = Along { offsets: offsets.collect::<Option<_>>()? };
        let dims = [&self.dims[..axis], &places.dims, &self.dims[axis + 1..]].concat();
        self.picked(&axes, dims)
    }

    /// `Slice` along each of some axes: from, to, in steps.
    pub(super) fn sliced(&self, cuts: &[Cut]) -> Option<Array<T>> {
        let (mut axes, mut dims, strides) = (self.axes(), self.dims.clone(), self.strides());
        for cut in cuts {
            let places = cut.places(self.dims[cut.axis])?;
            dims[cut.axis] = places.len();
            axes[cut.axis] = Along { offsets: places.into_iter().map(|at| at * strides[cut.axis]).collect() };
        }
        self.picked(&axes, dims)
    }

    /// The same repeated along dimensions of 1 and new ones in front.
    pub(super) fn expanded(&self, dims: &[usize]) -> Option<Array<T>> {
        let new = dims.len().checked_sub(self.dims.len())?;
        count_of(dims)?;
        let mut axes: Vec<Along> = dims[..new].iter().map(|dim| Along { offsets: vec![0; *dim] }).collect();
        for ((own, wanted), axis) in self.dims.iter().zip(&dims[new..]).zip(self.axes()) {
            axes.push(match (own == wanted, *own) {
                (true, _) => axis,
                (false, 1) => Along { offsets: vec![0; *wanted] },
                _ => return None,
            });
        }
        self.picked(&axes, dims.to_vec())
    }

    /// A function of elements of two arrays, broadcast against each other.
    pub(super) fn combined<U: Copy, V>(
        &self,
        other: &Array<U>,
        function: impl Fn(T, U) -> Option<V>,
    ) -> Option<Array<V>> {
        let rank = self.dims.len().max(other.dims.len());
        let at =
            |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis]);
        let along = |axis: usize| match (at(&self.dims, axis), at(&other.dims, axis)) {
            (1, dim) => dim,
            (dim, _) => dim,
        };
        let dims: Vec<usize> = (0..rank).map(along).collect();
        let (left, right) = (self.expanded(&dims)?, other.expanded(&dims)?);
        let values = left.values.into_iter().zip(right.values).map(|(a, b)| function(a, b));
        Some(Array { dims, values: values.collect::<Option<_>>()? })
    }

    /// `Concat` along an axis.
    pub(super) fn joined(arrays: &[&Array<T>], axis: i64) -> Option<Array<T>> {
        let first = *arrays.first()?;
        let axis = place(axis, first.dims.len())?;
        let fits = |array: &&Array<T>| {
            let (own, wanted) = (&array.dims, &first.dims);
            own.len() == wanted.len()
                && own[..axis] == wanted[..axis]
                && own[axis + 1..] == wanted[axis + 1..]
        };
        let blocks: usize = first.dims[..axis].iter().product();
        if blocks == 0 || !arrays.iter().all(fits) {
            return None;
        }
        let mut dims = first.dims.clone();
        dims[axis] = arrays.iter().map(|array| array.dims[axis]).sum();
        count_of(&dims).filter(|count| *count <= MOST_ELEMENTS)?;
        let mut values = vec![];
        for block in 0..blocks {
            for array in arrays {
                let len = array.values.len() / blocks;
                values.extend_from_slice(&array.values[block * len..][..len]);
            }
        }
        Some(Array { dims, values })
    }
}

/// What a `Slice` takes along an axis.
pub(super) struct Cut {
    pub(super) axis: usize,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) step: i64,
}

impl Cut {
    /// The places that are taken of `size`; none if the step is 0.
    pub(super) fn places(&self, size: usize) -> Option<Vec<usize>> {
        let size = size as i64;
        let from_start = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        // Backwards, the first place is the end and the last is before the start.
        let (low, high) = if self.step > 0 { (0, size) } else { (-1, size - 1) };
        let (start, end) =
            (from_start(self.start).clamp(low.max(0), high.max(0)), from_start(self.end).clamp(low, high));
        let mut places = vec![];
        let mut at = start;
        while self.step != 0 && (if self.step > 0 { at < end } else { at > end }) {
            places.push(usize::try_from(at).ok()?);
            at = at.saturating_add(self.step);
        }
        (self.step != 0).then_some(places)
    }
}
