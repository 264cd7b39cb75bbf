// conv2d as an implicit GEMM: im2col is index arithmetic in the tile loads, the im2col matrix is never stored.
//
// input N,H,W,C   weight K,R,S,C/groups   output N,P,Q,K   (all physical orders; one group after another)
//   forward      GEMM_M = N P Q    GEMM_N = K/groups        GEMM_K = R S C/groups
//   grad_input   GEMM_M = N H W    GEMM_N = C/groups        GEMM_K = R S K/groups; with a stride, the pixels that are a
//                stride apart are a phase, which is a convolution of its own, with those taps that reach it
//   grad_weight  GEMM_M = K/groups GEMM_N = R S C/groups    GEMM_K = N P Q, split into slabs added up by reduce_slabs
//   grad_bias    sums over N P Q in two passes (shared/grad_bias.wgsl)
//
// VECTOR_A and VECTOR_B say whether four neighbours of the factors are read at once, which takes channels (or filters) by
// fours; BOUNDED says whether taps may lie outside the image.

struct Params {
    n: u32, c: u32, h: u32, w: u32,
    k: u32, r: u32, s: u32,
    p: u32, q: u32,
    stride_h: u32, stride_w: u32,
    padding_h: u32, padding_w: u32,
    dilation_h: u32, dilation_w: u32,
    groups: u32,
    // Taps that reach the same phase are tap_step apart, the outputs that they reach it from tap_shift.
    tap_step_h: u32, tap_step_w: u32,
    tap_shift_h: u32, tap_shift_w: u32,
    tiles_m: u32, tiles_n: u32,
    slabs: u32, slab_len: u32, slab_stride: u32,
    rows: u32, columns: u32, count: u32,
    has_bias: u32,
    // The filters of a group that the dispatch is for, and of grad_input the terms: all, unless the weight is too large to
    // be bound at once. Then a part of its filters is bound, beginning with the first that is used.
    first_filter: u32, end_filter: u32,
    first_k: u32, end_k: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Packed>;
@group(0) @binding(2) var<storage, read> weight: array<Packed>;
@group(0) @binding(3) var<storage, read> grad_output: array<Packed>;

// An element of a tile is read where an edge (a row of the tile; of grad_weight, a column) meets a step along GEMM_K.
// One is a pixel, the other a tap: each has a row and a column of the image, which are added up and must lie inside, and
// an offset in memory, which are added up too. The fourth number of an edge is the pixel that it writes, that of a step
// the offset in the weight; it is -1 from the end on.
var<workgroup> edges: array<vec4<i32>, max(TILE_M, TILE_N)>;
var<workgroup> steps: array<vec4<i32>, TILE_K>;

// Where an edge meets a step in memory; -1 outside of an image of `extent`.
fn meeting(edge: vec4<i32>, step: vec4<i32>, extent: vec2<u32>) -> i32 {
    var inside = step.w >= 0;
    if BOUNDED {
        inside = inside && all(vec2<u32>(edge.xy + step.xy) < extent);
    }
    return select(-1, edge.z + step.z, inside);
}

fn input1(at: i32) -> f32 {
    if at < 0 {
        return 0.0;
    }
    return unpack(input[u32(at) / PACK])[u32(at) % PACK];
}

fn input4(at: i32) -> vec4<f32> {
    if at < 0 {
        return vec4<f32>();
    }
    if PACK == 4u {
        return unpack(input[u32(at) / 4u]);
    }
    return vec4<f32>(input1(at), input1(at + 1), input1(at + 2), input1(at + 3));
}

fn weight1(at: u32) -> f32 {
    return unpack(weight[at / PACK])[at % PACK];
}

fn weight4(at: u32) -> vec4<f32> {
    if PACK == 4u {
        return unpack(weight[at / 4u]);
    }
    return vec4<f32>(weight1(at), weight1(at + 1u), weight1(at + 2u), weight1(at + 3u));
}

fn grad_output1(at: u32) -> f32 {
    return unpack(grad_output[at / PACK])[at % PACK];
}

fn grad_output4(at: u32) -> vec4<f32> {
    if PACK == 4u {
        return unpack(grad_output[at / 4u]);
    }
    return vec4<f32>(grad_output1(at), grad_output1(at + 1u), grad_output1(at + 2u), grad_output1(at + 3u));
}

// Where the window of output pixel m begins; m counts n, p, q with q fastest.
fn window_at(m: u32, first_channel: u32) -> vec4<i32> {
    let rows = m / params.q;
    let h = i32(rows % params.p * params.stride_h) - i32(params.padding_h);
    let w = i32(m % params.q * params.stride_w) - i32(params.padding_w);
    let pixel = i32(rows / params.p * params.h * params.w) + h * i32(params.w) + w;
    return vec4<i32>(h, w, pixel * i32(params.c) + i32(first_channel), i32(m));
}

// Tap (r, s) and channel number k, channels counted fastest.
fn tap_at(k: u32, channels: u32) -> vec4<i32> {
    let tap = k / channels;
    let h = i32(tap / params.s * params.dilation_h);
    let w = i32(tap % params.s * params.dilation_w);
    return vec4<i32>(h, w, (h * i32(params.w) + w) * i32(params.c) + i32(k % channels), i32(k));
}

fn last_if_beyond(i: u32, extent: u32) -> u32 {
    return min(i, extent - 1u);
}

// ---- forward: output[m, n] = epilogue(sum over k of im2col(input)[m, k] weight[n, k] + bias[n])

fn input_row(edge: vec4<i32>, k: u32) -> vec4<f32> {
    let extent = vec2<u32>(params.h, params.w);
    if VECTOR_A {
        return input4(meeting(edge, steps[k], extent));
    }
    return vec4<f32>(
        input1(meeting(edge, steps[k], extent)),
        input1(meeting(edge, steps[k + 1u], extent)),
        input1(meeting(edge, steps[k + 2u], extent)),
        input1(meeting(edge, steps[k + 3u], extent)),
    );
}

fn filter_row(filter_index: u32, k: u32, gemm_k: u32) -> vec4<f32> {
    let at = filter_index * gemm_k + k;
    if VECTOR_B {
        if k < gemm_k {
            return weight4(at);
        }
        return vec4<f32>();
    }
    let last = gemm_k - 1u - min(k, gemm_k - 1u);
    let first = at + min(k, gemm_k - 1u) - k;
    let values = vec4<f32>(
        weight1(first),
        weight1(first + min(1u, last)),
        weight1(first + min(2u, last)),
        weight1(first + min(3u, last)),
    );
    return select(vec4<f32>(), values, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(gemm_k));
}

fn fetch_input(slot: u32, local: u32) {
    let block = slot * GEMM_INVOCATIONS + local;
    if block < BLOCKS_A {
        let at = 4u * block_at(block, QUADS_M, true);
        fetched_a[slot] = transpose(mat4x4<f32>(
            input_row(edges[at.x], at.y),
            input_row(edges[at.x + 1u], at.y),
            input_row(edges[at.x + 2u], at.y),
            input_row(edges[at.x + 3u], at.y),
        ));
    }
}

fn fetch_filters(slot: u32, local: u32, tile: vec3<u32>, k0: u32, gemm_k: u32, filters: u32) {
    let block = slot * GEMM_INVOCATIONS + local;
    if block < BLOCKS_B {
        let at = 4u * block_at(block, QUADS_N, true);
        let first = tile.z * filters - params.first_filter;
        let n = tile.y + at.x;
        let end = params.end_filter;
        fetched_b[slot] = transpose(mat4x4<f32>(
            filter_row(first + last_if_beyond(n, end), k0 + at.y, gemm_k),
            filter_row(first + last_if_beyond(n + 1u, end), k0 + at.y, gemm_k),
            filter_row(first + last_if_beyond(n + 2u, end), k0 + at.y, gemm_k),
            filter_row(first + last_if_beyond(n + 3u, end), k0 + at.y, gemm_k),
        ));
    }
}

fn store_output(first: u32, local: u32, tile: vec3<u32>, gemm_m: u32, filters: u32) {
    let m = tile.x + quadrant_row(local, first);
    let n = tile.y + quadrant_column(local, first);
    let count = params.end_filter - min(n, params.end_filter);
    let filter_index = tile.z * filters + n;
    var shift = vec4<f32>();
    if params.has_bias != 0u {
        shift = bias4(filter_index, params.k);
    }
    let at = m * params.k + filter_index;
    let rows = gemm_m - min(m, gemm_m);
    store4(at, epilogue(accumulator[first] + shift), select(0u, count, rows > 0u));
    store4(at + params.k, epilogue(accumulator[first + 1u] + shift), select(0u, count, rows > 1u));
    store4(at + 2u * params.k, epilogue(accumulator[first + 2u] + shift), select(0u, count, rows > 2u));
    store4(at + 3u * params.k, epilogue(accumulator[first + 3u] + shift), select(0u, count, rows > 3u));
}

@compute @workgroup_size(GEMM_INVOCATIONS)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let within = tile_at(flat_group(group, groups), params.tiles_m, params.tiles_n);
    let tile = within + vec3<u32>(0u, params.first_filter, 0u);
    if tile.z >= params.groups {
        return;
    }
    let channels = params.c / params.groups;
    let filters = params.k / params.groups;
    let gemm_m = params.n * params.p * params.q;
    let gemm_k = params.r * params.s * channels;
    for (var i = local; i < TILE_M; i += GEMM_INVOCATIONS) {
        edges[i] = window_at(last_if_beyond(tile.x + i, gemm_m), tile.z * channels);
    }
    var k0 = 0u;
    loop {
        if local < TILE_K {
            steps[local] = NOWHERE;
            if k0 + local < gemm_k {
                steps[local] = tap_at(k0 + local, channels);
            }
        }
        workgroupBarrier();
        if k0 < gemm_k {
            fetch_input(0u, local);
            if EACH_A > 1u {
                fetch_input(1u, local);
            }
            fetch_filters(0u, local, tile, k0, gemm_k, filters);
            if EACH_B > 1u {
                fetch_filters(1u, local, tile, k0, gemm_k, filters);
            }
        }
        if k0 > 0u {
            multiply_tile(local);
        }
        workgroupBarrier();
        if k0 >= gemm_k {
            break;
        }
        stage_blocks(local, true, true);
        k0 += TILE_K;
    }
    store_output(0u, local, tile, gemm_m, filters);
    if ACCUMULATORS > 4u {
        store_output(4u, local, tile, gemm_m, filters);
    }
    if ACCUMULATORS > 8u {
        store_output(8u, local, tile, gemm_m, filters);
        store_output(12u, local, tile, gemm_m, filters);
    }
}

const NOWHERE: vec4<i32> = vec4<i32>(0, 0, 0, -1);
