//! Shapes that are stretched as in PyTorch, and how tensors of such shapes are walked together.

use std::ops::Range;

use crate::tensor::{Layout, Shape};

/// The shape of two tensors broadcast against each other (aligned at the last dimension; 1 stretches).
pub(crate) fn broadcast_shape(a: &Shape, b: &Shape) -> Result<Shape, String> {
    let rank = a.len().max(b.len());
    if rank > 4 {
        return Err(format!("takes at most 4 dimensions, the inputs are {a} and {b}"));
    }
    let dim = |shape: &Shape, i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let dims = (0..rank).map(|i| match (dim(a, i), dim(b, i)) {
        (x, y) if x == y || y == 1 => Ok(x),
        (1, y) => Ok(y),
        _ => Err(format!("{a} and {b} cannot be broadcast against each other")),
    });
    Ok(Shape::from(dims.collect::<Result<Vec<usize>, String>>()?))
}

/// Logical dimension at each of four physical positions of a tensor of `rank`; positions before the rank are padding.
fn physical_order(rank: usize) -> [Option<usize>; 4] {
    match rank {
        4 => [Some(0), Some(2), Some(3), Some(1)],
        _ => std::array::from_fn(|i| (i + rank).checked_sub(4)),
    }
}

/// Sizes of four dimensions in physical order, outermost first.
pub(crate) fn physical_extents(shape: &Shape) -> [usize; 4] {
    physical_order(shape.len()).map(|dim| dim.map_or(1, |dim| shape[dim]))
}

/// Strides with which `small`, broadcast to `large`, is walked in `large`'s physical order.
pub(crate) fn broadcast_strides(small: &Shape, large: &Shape) -> [usize; 4] {
    let layout = Layout::of(small);
    physical_order(large.len()).map(|dim| {
        let own = dim.and_then(|dim| (dim + small.len()).checked_sub(large.len()));
        own.map_or(0, |own| if small[own] == 1 { 0 } else { layout.strides()[own] })
    })
}

/// A walk over up to four dimensions, the innermost last, in which each of `N` tensors moves by strides of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<const N: usize> {
    extents: [usize; 4],
    strides: [[usize; N]; 4],
}

impl<const N: usize> Walk<N> {
    /// Of these dimensions: extents, and for each tensor the strides. Dimensions that continue each other in all tensors are
    /// joined, so that runs are long.
    pub(crate) fn new(extents: [usize; 4], strides: [[usize; 4]; N]) -> Walk<N> {
        let mut walk = Walk { extents: [1; 4], strides: [[0; N]; 4] };
        let mut inner = 3;
        for dim in (0..4).rev().filter(|dim| extents[*dim] > 1) {
            let own: [usize; N] = std::array::from_fn(|i| strides[i][dim]);
            let continued = walk.strides[inner].map(|stride| stride * walk.extents[inner]);
            if walk.extents[inner] > 1 && own != continued {
                inner -= 1;
            }
            if walk.extents[inner] == 1 {
                walk.strides[inner] = own;
            }
            walk.extents[inner] *= extents[dim];
        }
        walk
    }

    /// How many places it comes to.
    pub(crate) fn len(&self) -> usize {
        self.extents.iter().product()
    }

    /// Each tensor's stride within a run.
    pub(crate) fn inner_strides(&self) -> [usize; N] {
        self.strides[3]
    }

    /// The runs along the innermost dimension of some of its places, counted in order: where each tensor is at the beginning
    /// of the run, and the run's length.
    #[inline(always)]
    pub(crate) fn runs(&self, places: Range<usize>) -> Runs<'_, N> {
        let [_, e1, e2, e3] = self.extents;
        let first = places.start;
        let at = [first / (e1 * e2 * e3), first / (e2 * e3) % e1, first / e3 % e2, first % e3];
        Runs { walk: self, at, left: places.len() }
    }
}

/// See [`Walk::runs`].
pub(crate) struct Runs<'a, const N: usize> {
    walk: &'a Walk<N>,
    at: [usize; 4],
    left: usize,
}

impl<const N: usize> Iterator for Runs<'_, N> {
    type Item = ([usize; N], usize);

    #[inline(always)]
    fn next(&mut self) -> Option<([usize; N], usize)> {
        let Walk { extents, strides } = self.walk;
        let len = (extents[3] - self.at[3]).min(self.left);
        if len == 0 {
            return None;
        }
        let mut offsets = [0; N];
        for (at, strides) in self.at.iter().zip(strides) {
            for i in 0..N {
                offsets[i] += at * strides[i];
            }
        }
        self.left -= len;
        self.at[3] = 0;
        for dim in (0..3).rev() {
            self.at[dim] += 1;
            if self.at[dim] < extents[dim] || dim == 0 {
                break;
            }
            self.at[dim] = 0;
        }
        Some((offsets, len))
    }
}

#[cfg(test)]
mod tests {
    use super::Walk;

    #[test]
    fn what_lies_together_is_one_run() {
        let per_channel = Walk::new([2, 5, 7, 3], [[105, 21, 3, 1], [0, 0, 0, 1]]);
        assert_eq!(per_channel.runs(0..210).count(), 70);
        let per_pixel = Walk::new([2, 5, 7, 3], [[105, 21, 3, 1], [35, 7, 1, 0]]);
        assert_eq!(per_pixel.runs(0..210).count(), 70);
        let scalar = Walk::new([2, 5, 7, 3], [[105, 21, 3, 1], [0, 0, 0, 0]]);
        assert_eq!(scalar.runs(3..200).collect::<Vec<_>>(), [([3, 0], 197)]);
        let per_sample = Walk::new([2, 5, 7, 3], [[105, 21, 3, 1], [1, 0, 0, 0]]);
        assert_eq!(per_sample.runs(100..210).collect::<Vec<_>>(), [([100, 0], 5), ([105, 1], 105)]);
    }

    #[test]
    fn all_places_are_visited_in_order() {
        let (extents, strides) = ([2, 3, 4, 5], [[60, 20, 5, 1], [0, 1, 3, 0]]);
        let walk = Walk::new(extents, strides);
        assert_eq!(walk.len(), 120);
        for start in [0, 1, 7, 119] {
            let inner = walk.inner_strides();
            let runs = walk.runs(start..120);
            let places = runs
                .flat_map(|(at, len)| (0..len).map(move |i| [at[0] + i * inner[0], at[1] + i * inner[1]]));
            let wanted = (start..120).map(|i| [i, i / 20 % 3 + i / 5 % 4 * 3]);
            assert!(places.eq(wanted), "from {start} on");
        }
    }
}
