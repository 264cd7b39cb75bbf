
// Tile primitives for products of matrices, K ascending and by explicit fma, so that results do not depend on the
// tile. A workgroup makes TILE_M x TILE_N elements, an invocation THREAD_M x THREAD_N of them. The entry point fills
// stage_a and stage_b (k-major) with its own index map, TILE_K deep, and calls multiply_tile between two barriers.

const GEMM_COLUMNS: u32 = TILE_N / THREAD_N;
const GEMM_INVOCATIONS: u32 = (TILE_M / THREAD_M) * GEMM_COLUMNS;

var<workgroup> stage_a: array<f32, TILE_K * TILE_M>;
var<workgroup> stage_b: array<f32, TILE_K * TILE_N>;
var<private> accumulator: array<f32, THREAD_M * THREAD_N>;

fn multiply_tile(local: u32) {
    let row = local / GEMM_COLUMNS * THREAD_M;
    let column = local % GEMM_COLUMNS * THREAD_N;
    var b: array<f32, THREAD_N>;
    for (var k = 0u; k < TILE_K; k++) {
        for (var j = 0u; j < THREAD_N; j++) {
            b[j] = stage_b[k * TILE_N + column + j];
        }
        for (var i = 0u; i < THREAD_M; i++) {
            let a = stage_a[k * TILE_M + row + i];
            for (var j = 0u; j < THREAD_N; j++) {
                let at = i * THREAD_N + j;
                accumulator[at] = fma(a, b[j], accumulator[at]);
            }
        }
    }
}

// Row and column, within the tile, of the invocation's accumulator element `at`.
fn tile_row(local: u32, at: u32) -> u32 {
    return local / GEMM_COLUMNS * THREAD_M + at / THREAD_N;
}

fn tile_column(local: u32, at: u32) -> u32 {
    return local % GEMM_COLUMNS * THREAD_N + at % THREAD_N;
}
