
// Tile primitives for products of matrices, K ascending and by explicit fma, so that results do not depend on the
// tile. A workgroup makes TILE_M x TILE_N elements, an invocation THREAD_M x THREAD_N of them (4 or 8 each) in
// quadrants of 4 x 4. Both factors are staged k-major in workgroup memory, TILE_K steps of K at a time, in blocks of
// 4 x 4 elements. An entry point fetches the blocks of the next slab into registers with its own index maps while the
// slab before is multiplied:
//
//   loop {
//       prepare what the fetch reads; workgroupBarrier();
//       if there is a slab { fetch }   if there was one { multiply_tile(local); }
//       workgroupBarrier();
//       if there is none { break; }
//       stage_blocks(local, ..);
//   }

const GEMM_COLUMNS: u32 = TILE_N / THREAD_N;
const GEMM_INVOCATIONS: u32 = TILE_M / THREAD_M * GEMM_COLUMNS;
// vec4 that an invocation accumulates: four to a quadrant.
const ACCUMULATORS: u32 = THREAD_M * THREAD_N / 4u;

const QUADS_M: u32 = TILE_M / 4u;
const QUADS_N: u32 = TILE_N / 4u;
const QUADS_K: u32 = TILE_K / 4u;
const BLOCKS_A: u32 = QUADS_M * QUADS_K;
const BLOCKS_B: u32 = QUADS_N * QUADS_K;
// Blocks that an invocation fetches: one or two of each factor.
const EACH_A: u32 = (BLOCKS_A + GEMM_INVOCATIONS - 1u) / GEMM_INVOCATIONS;
const EACH_B: u32 = (BLOCKS_B + GEMM_INVOCATIONS - 1u) / GEMM_INVOCATIONS;

// Rows of workgroup memory are padded by a vec4, so that the rows of a block begin in different banks.
const STRIDE_A: u32 = QUADS_M + 1u;
const STRIDE_B: u32 = QUADS_N + 1u;

var<workgroup> stage_a: array<vec4<f32>, TILE_K * STRIDE_A>;
var<workgroup> stage_b: array<vec4<f32>, TILE_K * STRIDE_B>;
// Blocks on their way; column j is step j of K, its elements are neighbours along M or N.
var<private> fetched_a: array<mat4x4<f32>, 2>;
var<private> fetched_b: array<mat4x4<f32>, 2>;
var<private> accumulator: array<vec4<f32>, ACCUMULATORS>;

// First row, first column and number in the batch of a workgroup's tile; columns are counted fastest, so that the
// workgroups that run together share rows.
fn tile_at(flat: u32, tiles_m: u32, tiles_n: u32) -> vec3<u32> {
    let rest = flat / tiles_n;
    return vec3<u32>(rest % tiles_m * TILE_M, flat % tiles_n * TILE_N, rest / tiles_m);
}

// Where block number `block` lies, in quads along M or N (there are `quads`) and along K. Neighbouring invocations load
// what are neighbours in memory.
fn block_at(block: u32, quads: u32, contiguous_k: bool) -> vec2<u32> {
    if contiguous_k {
        return vec2<u32>(block / QUADS_K, block % QUADS_K);
    }
    return vec2<u32>(block % quads, block / quads);
}

fn stage_block_a(slot: u32, local: u32, contiguous_k: bool) {
    let block = slot * GEMM_INVOCATIONS + local;
    if block < BLOCKS_A {
        let at = block_at(block, QUADS_M, contiguous_k);
        let first = 4u * at.y * STRIDE_A + at.x;
        stage_a[first] = fetched_a[slot][0];
        stage_a[first + STRIDE_A] = fetched_a[slot][1];
        stage_a[first + 2u * STRIDE_A] = fetched_a[slot][2];
        stage_a[first + 3u * STRIDE_A] = fetched_a[slot][3];
    }
}

fn stage_block_b(slot: u32, local: u32, contiguous_k: bool) {
    let block = slot * GEMM_INVOCATIONS + local;
    if block < BLOCKS_B {
        let at = block_at(block, QUADS_N, contiguous_k);
        let first = 4u * at.y * STRIDE_B + at.x;
        stage_b[first] = fetched_b[slot][0];
        stage_b[first + STRIDE_B] = fetched_b[slot][1];
        stage_b[first + 2u * STRIDE_B] = fetched_b[slot][2];
        stage_b[first + 3u * STRIDE_B] = fetched_b[slot][3];
    }
}

// Writes the fetched blocks to workgroup memory.
fn stage_blocks(local: u32, a_contiguous_k: bool, b_contiguous_k: bool) {
    stage_block_a(0u, local, a_contiguous_k);
    if EACH_A > 1u {
        stage_block_a(1u, local, a_contiguous_k);
    }
    stage_block_b(0u, local, b_contiguous_k);
    if EACH_B > 1u {
        stage_block_b(1u, local, b_contiguous_k);
    }
}

// Straight-line code: with loops, an array of accumulators ends up in memory on drivers that do not unroll them.
fn multiply_quadrant(first: u32, a: vec4<f32>, b: vec4<f32>) {
    accumulator[first] = fma(vec4<f32>(a.x), b, accumulator[first]);
    accumulator[first + 1u] = fma(vec4<f32>(a.y), b, accumulator[first + 1u]);
    accumulator[first + 2u] = fma(vec4<f32>(a.z), b, accumulator[first + 2u]);
    accumulator[first + 3u] = fma(vec4<f32>(a.w), b, accumulator[first + 3u]);
}

fn multiply_tile(local: u32) {
    let row = local / GEMM_COLUMNS;
    let column = local % GEMM_COLUMNS;
    for (var k = 0u; k < TILE_K; k++) {
        let a = stage_a[k * STRIDE_A + row];
        let b = stage_b[k * STRIDE_B + column];
        multiply_quadrant(0u, a, b);
        if THREAD_N == 8u {
            let right = stage_b[k * STRIDE_B + GEMM_COLUMNS + column];
            multiply_quadrant(4u, a, right);
            if THREAD_M == 8u {
                let below = stage_a[k * STRIDE_A + QUADS_M / 2u + row];
                multiply_quadrant(8u, below, b);
                multiply_quadrant(12u, below, right);
            }
        } else if THREAD_M == 8u {
            let below = stage_a[k * STRIDE_A + QUADS_M / 2u + row];
            multiply_quadrant(4u, below, b);
        }
    }
}

// Row, within the tile, of the first accumulator of a quadrant; the other three are the rows below it.
fn quadrant_row(local: u32, first: u32) -> u32 {
    return local / GEMM_COLUMNS * 4u + first / THREAD_N * (TILE_M / 2u);
}

// Column, within the tile, of a quadrant's first element.
fn quadrant_column(local: u32, first: u32) -> u32 {
    return local % GEMM_COLUMNS * 4u + first % THREAD_N / 4u * (TILE_N / 2u);
}
