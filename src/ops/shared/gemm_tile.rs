//! Tile configurations of the GEMM kernels (`shaders/shared/gemm.wgsl`).

use crate::graph::DispatchBuilder;

/// Geometry of a workgroup's tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) m: usize,
    pub(crate) n: usize,
    k: usize,
    thread_m: usize,
    thread_n: usize,
}

/// The configurations. All have 64 invocations, which every device runs; none has been tuned on a GPU yet.
const TILES: [Tile; 5] = [
    Tile { m: 64, n: 64, k: 16, thread_m: 8, thread_n: 8 },
    Tile { m: 32, n: 32, k: 16, thread_m: 4, thread_n: 4 },
    Tile { m: 64, n: 8, k: 16, thread_m: 4, thread_n: 2 },
    Tile { m: 8, n: 64, k: 16, thread_m: 2, thread_n: 4 },
    Tile { m: 16, n: 16, k: 16, thread_m: 2, thread_n: 2 },
];

impl Tile {
    /// The tile for a product with `m` rows and `n` columns: the one that computes and loads least, padding included.
    /// Depends on nothing else, so that plans are reproducible.
    pub(crate) fn choose(m: usize, n: usize) -> Tile {
        let cost = |tile: &Tile| {
            let tiles = m.div_ceil(tile.m) * n.div_ceil(tile.n);
            // A load costs about as much as 4 multiplications that are done in registers.
            tiles * (tile.m * tile.n + 4 * (tile.m + tile.n))
        };
        *TILES.iter().min_by_key(|tile| cost(tile)).expect("there are tiles")
    }

    /// Appends the geometry to a dispatch.
    pub(crate) fn constants<'l, 'a>(self, dispatch: DispatchBuilder<'l, 'a>) -> DispatchBuilder<'l, 'a> {
        dispatch
            .constant("TILE_M", self.m)
            .constant("TILE_N", self.n)
            .constant("TILE_K", self.k)
            .constant("THREAD_M", self.thread_m)
            .constant("THREAD_N", self.thread_n)
    }

    /// Number of tiles in a product, along its rows and its columns.
    pub(crate) fn count(self, m: usize, n: usize) -> [u32; 2] {
        [m.div_ceil(self.m) as u32, n.div_ceil(self.n) as u32]
    }
}

/// Slabs of a long sum (split-K): how many, and of what length. By shape only, so that results are reproducible.
pub(crate) fn slabs(len: usize, parallel: usize) -> (usize, usize) {
    // Enough slabs for a few hundred workgroups, none shorter than 64 terms.
    let wanted = (256 / parallel.max(1)).clamp(1, 64);
    let slab_len = len.div_ceil(wanted).max(64).next_multiple_of(16);
    (len.div_ceil(slab_len), slab_len)
}
