//! Loops compiled for the widest vectors of the machine they run on.

use crate::graph::{Real, Simd};
pub(crate) use crate::tensor::vectorised;

/// A loop of any size that is compiled for this machine's vectors. `run` must be marked `#[inline(always)]`, as must what it
/// calls: what is called instead of inlined is compiled without vectors. That is why this is a type and no function that is
/// handed over ([`vectorised`] is for what is small), and why these loops are `for` loops, not `for_each`: the compiler calls
/// such closures where they are large (`max_pool2d.forward` of seed-cnn took 0.80 instead of 0.10 ms).
pub(crate) trait Loop: Sized {
    /// The loop, which may name vectors by `simd` ([`crate::graph::Lanes`]) or leave them to the compiler.
    fn run<S: Simd>(self, simd: S);

    /// Runs it.
    #[inline(always)]
    fn vectorised(self) {
        pulp::Arch::new().dispatch(Compiled(self));
    }
}

struct Compiled<L>(L);

impl<L: Loop> pulp::WithSimd for Compiled<L> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run(simd);
    }
}

/// `V` vectors of `len` neighbouring elements each; a `len` below the width of a vector is for one vector only.
#[inline(always)]
pub(crate) fn vectors<T: Real, S: Simd, const V: usize>(
    simd: S,
    from: &[T],
    len: usize,
) -> [T::Vector<S>; V] {
    let from = &from[..V * len];
    let mut vectors = [T::splat(simd, T::zero()); V];
    for v in 0..V {
        vectors[v] = T::load(simd, &from[v * len..][..len]);
    }
    vectors
}

/// Writes what [`vectors`] reads.
#[inline(always)]
pub(crate) fn store_vectors<T: Real, S: Simd, const V: usize>(
    simd: S,
    to: &mut [T],
    vectors: [T::Vector<S>; V],
    len: usize,
) {
    let to = &mut to[..V * len];
    for v in 0..V {
        T::store(simd, &mut to[v * len..][..len], vectors[v]);
    }
}
