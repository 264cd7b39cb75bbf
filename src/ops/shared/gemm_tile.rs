//! Tile configurations of the GEMM kernels (`shaders/shared/gemm.wgsl`).

use crate::graph::{Capabilities, Configuration, DispatchBuilder, Lower, TuningKey};
use crate::tensor::DType;

/// Geometry of a workgroup's tile: `m` x `n` elements of the result, `k` terms at a time; an invocation makes
/// `thread_m` x `thread_n` elements, 4 or 8 each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) m: usize,
    pub(crate) n: usize,
    k: usize,
    thread_m: usize,
    thread_n: usize,
    direct: bool,
}

const fn tile([m, n, k]: [usize; 3], [thread_m, thread_n]: [usize; 2]) -> Tile {
    Tile { m, n, k, thread_m, thread_n, direct: false }
}

/// The configurations; none has been timed on a GPU yet. All give the same bits.
const TILES: [Tile; 9] = [
    tile([128, 128, 16], [8, 8]),
    tile([128, 128, 8], [8, 8]),
    tile([128, 64, 16], [8, 8]),
    tile([64, 64, 16], [8, 8]),
    tile([128, 32, 8], [8, 8]),
    tile([32, 32, 16], [4, 4]),
    tile([128, 8, 8], [4, 4]),
    tile([8, 128, 8], [4, 4]),
    tile([16, 16, 16], [4, 4]),
];

const fn direct([m, n]: [usize; 2], [thread_m, thread_n]: [usize; 2]) -> Tile {
    Tile { m, n, k: 4, thread_m, thread_n, direct: true }
}

/// Configurations of convolutions without workgroup memory (`shaders/shared/conv2d_direct.wgsl`), where the 64
/// invocations of a workgroup lie along the rows, and for gradients of weights, where they lie along the columns.
const ALONG_ROWS: [Tile; 2] = [direct([256, 16], [4, 16]), direct([256, 8], [4, 8])];
const ALONG_COLUMNS: [Tile; 2] = [direct([16, 256], [16, 4]), direct([8, 256], [8, 4])];

/// One product of matrices as far as the choice of its kernel goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem {
    /// Operator and pass, `conv2d.forward`.
    pub(crate) family: &'static str,
    /// Element type of the factors.
    pub(crate) dtype: DType,
    /// Rows, columns and terms of each sum.
    pub(crate) sizes: [usize; 3],
    /// Products of these sizes in one dispatch: groups, phases, slabs of a sum.
    pub(crate) batch: usize,
    /// Taps and stride of a convolution; 1 and 1 for plain matrices.
    pub(crate) window: [usize; 2],
}

impl Problem {
    /// Chooses the tile: the device's tuned one, else the first of [`Problem::configurations`].
    pub(crate) fn choose(&self, lower: &mut Lower<'_>) -> Tile {
        let Problem { family, dtype, sizes, window, .. } = *self;
        let tiles = self.configurations(lower.capabilities);
        lower.choose(TuningKey { family, dtype, sizes, details: window }, &tiles)
    }

    /// The same among the configurations with tiles in workgroup memory.
    pub(crate) fn choose_tiles(&self, lower: &mut Lower<'_>) -> Tile {
        let Problem { family, dtype, sizes, window, .. } = *self;
        let mut tiles = self.configurations(lower.capabilities);
        tiles.retain(|tile| !tile.is_direct());
        lower.choose(TuningKey { family, dtype, sizes, details: window }, &tiles)
    }

    /// The tiles that a device can run and that are not mostly padding: first the one that computes and loads least. This
    /// depends on nothing else, so that plans are reproducible.
    pub(crate) fn configurations(&self, capabilities: &Capabilities) -> Vec<Tile> {
        let [m, n, _] = self.sizes;
        let padded = |tile: &Tile| m.next_multiple_of(tile.m) * n.next_multiple_of(tile.n);
        let least = TILES.iter().map(padded).min().expect("there are tiles");
        let fits = |tile: &&Tile| {
            tile.invocations() <= capabilities.max_invocations as usize
                && tile.workgroup_bytes() <= capabilities.max_workgroup_storage as usize
                && padded(tile) <= 4 * least
        };
        let mut tiles: Vec<Tile> = TILES.iter().filter(fits).copied().collect();
        tiles.sort_by_key(|tile| self.cost(tile));
        let mut direct = match self.family {
            "conv2d.forward" | "conv2d.grad_input" => ALONG_ROWS.to_vec(),
            "conv2d.grad_weight" => ALONG_COLUMNS.to_vec(),
            _ => vec![],
        };
        direct.sort_by_key(|tile| (padded(tile), usize::MAX - tile.m * tile.n));
        // Software runs barriers one invocation after another and gains nothing from memory that is near.
        let at = if capabilities.subgroup_size[1] <= 8 { 0 } else { tiles.len() };
        tiles.splice(at..at, direct);
        tiles
    }

    /// What a tile would cost, in multiply-adds that take as long.
    fn cost(&self, tile: &Tile) -> usize {
        /// Workgroups that a small device runs at once: with fewer, smaller tiles are no slower.
        const PARALLEL: usize = 32;
        let [m, n, _] = self.sizes;
        let tiles = m.div_ceil(tile.m) * n.div_ceil(tile.n) * self.batch;
        // Per term of the sums: products, reads of workgroup memory, and reads of the factors.
        let area = tile.m * tile.n;
        let read = area / tile.thread_m + area / tile.thread_n;
        tiles.max(PARALLEL) * (area + read + 4 * (tile.m + tile.n))
    }
}

impl Configuration for Tile {
    fn name(&self) -> String {
        let Tile { m, n, k, direct, .. } = self;
        if *direct { format!("direct-{m}x{n}") } else { format!("{m}x{n}x{k}") }
    }
}

impl Tile {
    /// The smallest tile; dispatches of a file that has tiles take it where they use none.
    pub(crate) const SMALL: Tile = TILES[TILES.len() - 1];

    /// Whether it is a configuration without workgroup memory.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct
    }

    fn invocations(&self) -> usize {
        self.m / self.thread_m * (self.n / self.thread_n)
    }

    /// Workgroup memory of the largest kernel with this tile: both stages, and the tables of `conv2d`.
    fn workgroup_bytes(&self) -> usize {
        4 * self.k * (self.m + 4 + self.n + 4) + 16 * (self.m.max(self.n) + self.k) + 1024
    }

    /// Appends the geometry to a dispatch, and whether four neighbours of each factor are read at once.
    pub(crate) fn constants<'l, 'a>(
        self,
        dispatch: DispatchBuilder<'l, 'a>,
        [a, b]: [bool; 2],
    ) -> DispatchBuilder<'l, 'a> {
        dispatch
            .constant("VECTOR_A", a)
            .constant("VECTOR_B", b)
            .constant("TILE_M", self.m)
            .constant("TILE_N", self.n)
            .constant("TILE_K", self.k)
            .constant("THREAD_M", self.thread_m)
            .constant("THREAD_N", self.thread_n)
    }

    /// Number of tiles in a product, along its rows and its columns.
    pub(crate) fn count(self, m: usize, n: usize) -> [usize; 2] {
        [m.div_ceil(self.m), n.div_ceil(self.n)]
    }
}

/// The snippet that reads a tensor of `dtype`; an f32 one element by element if nothing reads vectors.
pub(crate) fn loads(dtype: DType, vectors: bool) -> &'static str {
    match (dtype, vectors) {
        (DType::F16, _) => "load_f16",
        (_, true) => "load_f32",
        (_, false) => "load_f32x1",
    }
}

/// Middling tiles in an `m` x `n` product: what slabs of its sums are made by, whatever tile it takes in the end.
pub(crate) fn middling(m: usize, n: usize) -> usize {
    m.div_ceil(64) * n.div_ceil(64)
}

/// Slabs of long sums (split-K) beside `parallel` other workgroups: how many, and of what length. By shape only, never by
/// the configuration, so that results are reproducible.
pub(crate) fn slabs(len: usize, parallel: usize) -> (usize, usize) {
    // Enough slabs for a few hundred workgroups, none shorter than 64 terms.
    let wanted = (256 / parallel.max(1)).clamp(1, 256);
    let slab_len = len.div_ceil(wanted).max(64).next_multiple_of(16);
    (len.div_ceil(slab_len), slab_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_device_runs_a_tile_for_every_problem() {
        for sizes in [[1, 1, 1], [7, 3, 9], [100_000, 64, 576], [8, 9, 43_264], [3, 5000, 12]] {
            let problem =
                Problem { family: "matmul.forward", dtype: DType::F32, sizes, batch: 1, window: [1, 1] };
            let tiles = problem.configurations(&Capabilities::PORTABLE);
            assert!(!tiles.is_empty(), "{sizes:?}");
        }
    }

    #[test]
    fn slabs_cover_the_sum() {
        for (m, n, len) in [(8, 9, 43_264), (64, 576, 65_536), (1, 1, 201), (512, 4608, 8192)] {
            let (slabs, slab_len) = slabs(len, middling(m, n));
            assert!(slabs * slab_len >= len && (slabs - 1) * slab_len < len, "{m} {n} {len}");
        }
    }
}
