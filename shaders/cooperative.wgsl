// cooperative: products of f16 matrices, accumulated in f32, by subgroups that multiply whole tiles; a convolution is such
// a product for each tap of its window, added up. Serves conv2d, linear and matmul, whose dispatches name this file.
//
// The tile primitives are in the snippets of the device (coop_16x16 or coop_8x8 with coop_tiles; coop_emulated anywhere),
// the way out in coop_staged or coop_partial. Tiles are loaded straight from storage, so all sizes are multiples of TILE.
//
//   product   C[m, n] = sum over taps and k of left[m + tap, k] right[tap, k, n]
//   gather    images N,H,W,C -> flat pixels: a grid with a halo of zeros, in which every tap is a shift by whole rows
//   finish    adds up slabs, drops what lies outside of the image, adds the bias, applies the epilogue
//
// A grid pixel is m = (sample grid_h + i) grid_w + j. The halo is shared: the zeros left of a row are those right of the
// row above. A convolution with a stride has one grid per phase, the remainder of a pixel's place divided by the stride.

struct Params {
    samples: u32, grid_h: u32, grid_w: u32,
    phases_h: u32, phases_w: u32,
    image_h: u32, image_w: u32,
    step_h: u32, step_w: u32,
    origin_h: i32, origin_w: i32,
    m: u32, n: u32, depth: u32,
    left_stride: u32, right_stride: u32,
    rows: u32, pitch: u32, tap_phases_w: u32,
    taps_h: u32, taps_w: u32,
    stride_h: u32, stride_w: u32,
    dilation_h: u32, dilation_w: u32,
    reach_h: u32, reach_w: u32,
    channels: u32,
    slabs: u32, slab_len: u32,
    partial_m: u32, partial_n: u32,
    has_bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> input: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> padded: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;

// A subgroup makes four tiles down and FRAGMENTS_N across.
const HEIGHT: u32 = 4u * TILE;
const WIDTH: u32 = FRAGMENTS_N * TILE;
const INVOCATIONS: u32 = SUBGROUPS_M * SUBGROUPS_N * SUBGROUP;

// The pixel of the image at grid pixel `m` of a phase; -1 outside.
fn pixel_at(phase: u32, m: u32) -> i32 {
    let row = m / params.grid_w;
    let sample = row / params.grid_h;
    let h = i32(row % params.grid_h * params.step_h + phase / params.phases_w) + params.origin_h;
    let w = i32(m % params.grid_w * params.step_w + phase % params.phases_w) + params.origin_w;
    if sample >= params.samples || h < 0 || w < 0 || h >= i32(params.image_h) || w >= i32(params.image_w) {
        return -1;
    }
    return (i32(sample * params.image_h) + h) * i32(params.image_w) + w;
}

// padded[phase, m, c] = input[pixel, c], 0 outside of the image; an invocation does four channels
@compute @workgroup_size(WORKGROUP_SIZE)
fn gather(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = flat_index(group, groups, local);
    let quads = params.channels / 4u;
    let row = at / quads;
    let phase = row / params.rows;
    if phase >= params.phases_h * params.phases_w {
        return;
    }
    let pixel = pixel_at(phase, row % params.rows);
    var four = vec2<u32>(0u);
    if pixel >= 0 {
        four = input[u32(pixel) * quads + at % quads];
    }
    padded[at] = four;
}

// Which phase a tap falls into.
fn phase_of(r: u32, s: u32) -> u32 {
    return r * params.dilation_h % params.stride_h * params.tap_phases_w + s * params.dilation_w % params.stride_w;
}

// By how many rows a tap shifts the gathered operand.
fn shift_of(r: u32, s: u32) -> u32 {
    let down = r * params.dilation_h / params.stride_h;
    let right = s * params.dilation_w / params.stride_w;
    if TAPS == TAPS_BACK {
        return (params.reach_h - down) * params.pitch + params.reach_w - right;
    }
    return phase_of(r, s) * params.rows + down * params.pitch + right;
}

// Where the tile at column `n` of the right operand begins, before taps and depth.
fn right_at(n: u32) -> u32 {
    if TAPS == TAPS_ACROSS {
        let tap = n / params.channels;
        let shift = shift_of(tap / params.taps_w, tap % params.taps_w);
        return shift * params.right_stride + n % params.channels;
    }
    return select(n * params.right_stride, n, RIGHT_ROWS);
}

// What taps are: looped over as they stand, looped over backwards in one phase, or blocks of columns.
const TAPS_FORTH: u32 = 0u;
const TAPS_BACK: u32 = 1u;
const TAPS_ACROSS: u32 = 2u;

@compute @workgroup_size(INVOCATIONS)
fn product(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let subgroup = local / SUBGROUP;
    let first_m = (group.x * SUBGROUPS_M + subgroup / SUBGROUPS_N) * HEIGHT;
    let first_n = (group.y * SUBGROUPS_N + subgroup % SUBGROUPS_N) * WIDTH;
    let phase = group.z / params.slabs;
    let first_k = group.z % params.slabs * params.slab_len;
    let steps = (min(params.slab_len, params.depth - first_k)) / TILE;

    // Tiles beyond the edge repeat the last one; nobody reads what they give.
    let tiles = vec4<u32>(0u, TILE, 2u * TILE, 3u * TILE);
    let m = min(first_m + tiles, vec4<u32>(params.m - TILE));
    let n = min(first_n + tiles, vec4<u32>(params.n - TILE));
    let left_rows = select(m, m * params.left_stride, LEFT_ROWS)
        + first_k * select(params.left_stride, 1u, LEFT_ROWS);
    let right_rows = vec4<u32>(right_at(n.x), right_at(n.y), right_at(n.z), right_at(n.w))
        + first_k * select(1u, params.right_stride, RIGHT_ROWS);
    let left_step = TILE * select(params.left_stride, 1u, LEFT_ROWS);
    let right_step = TILE * select(1u, params.right_stride, RIGHT_ROWS);

    var c00: Sums; var c01: Sums; var c02: Sums; var c03: Sums;
    var c10: Sums; var c11: Sums; var c12: Sums; var c13: Sums;
    var c20: Sums; var c21: Sums; var c22: Sums; var c23: Sums;
    var c30: Sums; var c31: Sums; var c32: Sums; var c33: Sums;
    let taps_h = select(params.taps_h, 1u, TAPS == TAPS_ACROSS);
    let taps_w = select(params.taps_w, 1u, TAPS == TAPS_ACROSS);
    for (var r = 0u; r < taps_h; r++) {
        for (var s = 0u; s < taps_w; s++) {
            if TAPS == TAPS_BACK && phase_of(r, s) != phase {
                continue;
            }
            var left = left_rows;
            var right = right_rows;
            if TAPS != TAPS_ACROSS {
                left += shift_of(r, s) * params.left_stride;
                right += (r * params.taps_w + s) * params.channels;
            }
            for (var step = 0u; step < steps; step++) {
                let a0 = load_left(left.x);
                let a1 = load_left(left.y);
                let a2 = load_left(left.z);
                let a3 = load_left(left.w);
                let b0 = load_right(right.x);
                let b1 = load_right(right.y);
                c00 = multiply_add(a0, b0, c00);
                c10 = multiply_add(a1, b0, c10);
                c20 = multiply_add(a2, b0, c20);
                c30 = multiply_add(a3, b0, c30);
                c01 = multiply_add(a0, b1, c01);
                c11 = multiply_add(a1, b1, c11);
                c21 = multiply_add(a2, b1, c21);
                c31 = multiply_add(a3, b1, c31);
                if FRAGMENTS_N > 2u {
                    let b2 = load_right(right.z);
                    let b3 = load_right(right.w);
                    c02 = multiply_add(a0, b2, c02);
                    c12 = multiply_add(a1, b2, c12);
                    c22 = multiply_add(a2, b2, c22);
                    c32 = multiply_add(a3, b2, c32);
                    c03 = multiply_add(a0, b3, c03);
                    c13 = multiply_add(a1, b3, c13);
                    c23 = multiply_add(a2, b3, c23);
                    c33 = multiply_add(a3, b3, c33);
                }
                left += left_step;
                right += right_step;
            }
        }
    }
    emit(group.z, first_m, first_n, local, c00, c01, c02, c03);
    emit(group.z, first_m + TILE, first_n, local, c10, c11, c12, c13);
    emit(group.z, first_m + 2u * TILE, first_n, local, c20, c21, c22, c23);
    emit(group.z, first_m + 3u * TILE, first_n, local, c30, c31, c32, c33);
}

// Writes four columns of a row of the product to the output, if they are part of it.
fn finish4(phase: u32, m: u32, n: u32, sums: vec4<f32>) {
    if n >= params.n {
        return;
    }
    let pixel = pixel_at(phase, m);
    if pixel < 0 {
        return;
    }
    var values = sums;
    if params.has_bias != 0u {
        values += vec4<f32>(bias[n], bias[n + 1u], bias[n + 2u], bias[n + 3u]);
    }
    store4(u32(pixel) * params.n + n, epilogue(values), 4u);
}

// output = epilogue(sum over slabs, in order, of partials[phase, slab], + bias); an invocation does four columns
@compute @workgroup_size(WORKGROUP_SIZE)
fn finish(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = flat_index(group, groups, local);
    let quads = params.n / 4u;
    let row = at / quads;
    let phase = row / params.m;
    if phase >= params.phases_h * params.phases_w {
        return;
    }
    let m = row % params.m;
    let n = 4u * (at % quads);
    var sums = vec4<f32>(0.0);
    for (var slab = 0u; slab < params.slabs; slab++) {
        let block = phase * params.slabs + slab;
        sums += partials[((block * params.partial_m + m) * params.partial_n + n) / 4u];
    }
    finish4(phase, m, n, sums);
}
