// conv2d as an implicit GEMM: im2col is index arithmetic in the tile loads, the im2col matrix is never stored.
//
// input N,H,W,C   weight K,R,S,C/groups   output N,P,Q,K   (all physical orders; one group per workgroup z)
//   forward      GEMM_M = N P Q    GEMM_N = K/groups        GEMM_K = R S C/groups
//   grad_input   GEMM_M = N H W    GEMM_N = C/groups        GEMM_K = R S K/groups
//   grad_weight  GEMM_M = K/groups GEMM_N = R S C/groups    GEMM_K = N P Q, split into slabs added up by reduce_slabs
//   grad_bias    sums over N P Q in two passes

struct Params {
    n: u32, c: u32, h: u32, w: u32,
    k: u32, r: u32, s: u32,
    p: u32, q: u32,
    stride_h: u32, stride_w: u32,
    padding_h: u32, padding_w: u32,
    dilation_h: u32, dilation_w: u32,
    groups: u32,
    has_bias: u32,
    slabs: u32,
    slab_len: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> grad_output: array<f32>;
@group(0) @binding(5) var<storage, read> partials: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<f32>;

// What a row of a tile is: the pixel under tap (0, 0) (down, right), the first pixel of its sample, and whether it exists.
var<workgroup> row_origin: array<vec4<i32>, TILE_M>;
// What one step along GEMM_K, or a column of grad_weight, is: the same for a tap, with its channel.
var<workgroup> tap_offset: array<vec4<i32>, TILE_K>;
var<workgroup> column_tap: array<vec4<i32>, TILE_N>;

const NOWHERE: vec4<i32> = vec4<i32>(0, 0, 0, -1);

// Tap (r, s) and channel of a number that counts channels fastest.
fn tap_at(k: u32, channels: u32) -> vec4<i32> {
    let tap = k / channels;
    return vec4<i32>(
        i32(tap / params.s * params.dilation_h),
        i32(tap % params.s * params.dilation_w),
        i32(k % channels),
        0,
    );
}

// Where the window of output pixel m begins; m counts n, p, q with q fastest.
fn window_at(m: u32) -> vec4<i32> {
    let q = m % params.q;
    let rows = m / params.q;
    let p = rows % params.p;
    let sample = rows / params.p;
    return vec4<i32>(
        i32(p * params.stride_h) - i32(params.padding_h),
        i32(q * params.stride_w) - i32(params.padding_w),
        i32(sample * params.h * params.w),
        0,
    );
}

// The input under a tap of a window; zero in the padding.
fn input_under(window: vec4<i32>, tap: vec4<i32>, first_channel: u32) -> f32 {
    let h = window.x + tap.x;
    let w = window.y + tap.y;
    if (window.w | tap.w) < 0 || h < 0 || w < 0 || h >= i32(params.h) || w >= i32(params.w) {
        return 0.0;
    }
    let pixel = u32(window.z + h * i32(params.w) + w);
    return input[pixel * params.c + first_channel + u32(tap.z)];
}

// The gradient of the output whose window has input pixel `at` under a tap; zero if there is none.
fn grad_output_over(at: vec4<i32>, tap: vec4<i32>, first_filter: u32) -> f32 {
    var p = at.x - tap.x;
    var q = at.y - tap.y;
    if (at.w | tap.w) < 0 || p < 0 || q < 0 {
        return 0.0;
    }
    if params.stride_h > 1u || params.stride_w > 1u {
        let down = p / i32(params.stride_h);
        let right = q / i32(params.stride_w);
        if down * i32(params.stride_h) != p || right * i32(params.stride_w) != q {
            return 0.0;
        }
        p = down;
        q = right;
    }
    if p >= i32(params.p) || q >= i32(params.q) {
        return 0.0;
    }
    let pixel = u32(at.z + p * i32(params.q) + q);
    return grad_output[pixel * params.k + first_filter + u32(tap.z)];
}

// output[m, n] = sum over k of im2col(input)[m, k] weight[n, k] + bias[n]
@compute @workgroup_size(GEMM_INVOCATIONS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let channels = params.c / params.groups;
    let filters = params.k / params.groups;
    let gemm_m = params.n * params.p * params.q;
    let gemm_k = params.r * params.s * channels;
    let first_m = group.x * TILE_M;
    let first_n = group.y * TILE_N;
    for (var i = local; i < TILE_M; i += GEMM_INVOCATIONS) {
        row_origin[i] = NOWHERE;
        if first_m + i < gemm_m {
            row_origin[i] = window_at(first_m + i);
        }
    }
    for (var k0 = 0u; k0 < gemm_k; k0 += TILE_K) {
        for (var i = local; i < TILE_K; i += GEMM_INVOCATIONS) {
            tap_offset[i] = NOWHERE;
            if k0 + i < gemm_k {
                tap_offset[i] = tap_at(k0 + i, channels);
            }
        }
        workgroupBarrier();
        for (var i = local; i < TILE_K * TILE_M; i += GEMM_INVOCATIONS) {
            stage_a[i] = input_under(row_origin[i % TILE_M], tap_offset[i / TILE_M], group.z * channels);
        }
        for (var i = local; i < TILE_K * TILE_N; i += GEMM_INVOCATIONS) {
            let n = first_n + i % TILE_N;
            let k = k0 + i / TILE_N;
            var value = 0.0;
            if n < filters && k < gemm_k {
                value = weight[(group.z * filters + n) * gemm_k + k];
            }
            stage_b[i] = value;
        }
        workgroupBarrier();
        multiply_tile(local);
    }
    for (var i = 0u; i < THREAD_M * THREAD_N; i++) {
        let m = first_m + tile_row(local, i);
        let n = first_n + tile_column(local, i);
        if m < gemm_m && n < filters {
            let filter_index = group.z * filters + n;
            var value = accumulator[i];
            if params.has_bias != 0u {
                value += bias[filter_index];
            }
            output[m * params.k + filter_index] = value;
        }
    }
}

// grad_input[n, h, w, c] = sum over r, s, k with p stride + r dilation - padding = h of
// grad_output[n, p, q, k] weight[k, r, s, c]
@compute @workgroup_size(GEMM_INVOCATIONS)
fn grad_input(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let channels = params.c / params.groups;
    let filters = params.k / params.groups;
    let gemm_m = params.n * params.h * params.w;
    let gemm_k = params.r * params.s * filters;
    let first_m = group.x * TILE_M;
    let first_n = group.y * TILE_N;
    for (var i = local; i < TILE_M; i += GEMM_INVOCATIONS) {
        let m = first_m + i;
        row_origin[i] = NOWHERE;
        if m < gemm_m {
            let w = m % params.w;
            let rows = m / params.w;
            let sample = rows / params.h;
            row_origin[i] = vec4<i32>(
                i32(rows % params.h + params.padding_h),
                i32(w + params.padding_w),
                i32(sample * params.p * params.q),
                0,
            );
        }
    }
    for (var k0 = 0u; k0 < gemm_k; k0 += TILE_K) {
        for (var i = local; i < TILE_K; i += GEMM_INVOCATIONS) {
            tap_offset[i] = NOWHERE;
            if k0 + i < gemm_k {
                tap_offset[i] = tap_at(k0 + i, filters);
            }
        }
        workgroupBarrier();
        for (var i = local; i < TILE_K * TILE_M; i += GEMM_INVOCATIONS) {
            stage_a[i] = grad_output_over(row_origin[i % TILE_M], tap_offset[i / TILE_M], group.z * filters);
        }
        for (var i = local; i < TILE_K * TILE_N; i += GEMM_INVOCATIONS) {
            let n = first_n + i % TILE_N;
            let k = k0 + i / TILE_N;
            var value = 0.0;
            if n < channels && k < gemm_k {
                let filter_index = group.z * filters + u32(tap_offset[i / TILE_N].z);
                value = weight[(filter_index * params.r * params.s + k / filters) * channels + n];
            }
            stage_b[i] = value;
        }
        workgroupBarrier();
        multiply_tile(local);
    }
    for (var i = 0u; i < THREAD_M * THREAD_N; i++) {
        let m = first_m + tile_row(local, i);
        let n = first_n + tile_column(local, i);
        if m < gemm_m && n < channels {
            output[m * params.c + group.z * channels + n] = accumulator[i];
        }
    }
}

// partial[slab][k, r, s, c] = sum over the slab's n, p, q of grad_output[n, p, q, k] input[n, h, w, c]
@compute @workgroup_size(GEMM_INVOCATIONS)
fn grad_weight(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let channels = params.c / params.groups;
    let filters = params.k / params.groups;
    let gemm_n = params.r * params.s * channels;
    let slab = group.z / params.groups;
    let group_index = group.z % params.groups;
    let first_m = group.x * TILE_M;
    let first_n = group.y * TILE_N;
    for (var i = local; i < TILE_N; i += GEMM_INVOCATIONS) {
        column_tap[i] = NOWHERE;
        if first_n + i < gemm_n {
            column_tap[i] = tap_at(first_n + i, channels);
        }
    }
    let last_k = min((slab + 1u) * params.slab_len, params.n * params.p * params.q);
    for (var k0 = slab * params.slab_len; k0 < last_k; k0 += TILE_K) {
        for (var i = local; i < TILE_K; i += GEMM_INVOCATIONS) {
            tap_offset[i] = NOWHERE;
            if k0 + i < last_k {
                tap_offset[i] = window_at(k0 + i);
            }
        }
        workgroupBarrier();
        for (var i = local; i < TILE_K * TILE_M; i += GEMM_INVOCATIONS) {
            let m = first_m + i % TILE_M;
            let k = k0 + i / TILE_M;
            var value = 0.0;
            if m < filters && k < last_k {
                value = grad_output[k * params.k + group_index * filters + m];
            }
            stage_a[i] = value;
        }
        for (var i = local; i < TILE_K * TILE_N; i += GEMM_INVOCATIONS) {
            stage_b[i] = input_under(tap_offset[i / TILE_N], column_tap[i % TILE_N], group_index * channels);
        }
        workgroupBarrier();
        multiply_tile(local);
    }
    for (var i = 0u; i < THREAD_M * THREAD_N; i++) {
        let m = first_m + tile_row(local, i);
        let n = first_n + tile_column(local, i);
        if m < filters && n < gemm_n {
            output[((slab * params.k) + group_index * filters + m) * gemm_n + n] = accumulator[i];
        }
    }
}

// partial[slab][k] = sum over the slab's n, p, q of grad_output[n, p, q, k]
@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_bias(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.slabs * params.k {
        return;
    }
    let slab = i / params.k;
    let last = min((slab + 1u) * params.slab_len, params.n * params.p * params.q);
    var sum = 0.0;
    for (var pixel = slab * params.slab_len; pixel < last; pixel++) {
        sum += grad_output[pixel * params.k + i % params.k];
    }
    output[i] = sum;
}

// output[i] = sum over slabs, in order, of partials[slab][i]
@compute @workgroup_size(WORKGROUP_SIZE)
fn reduce_slabs(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.count {
        return;
    }
    var sum = 0.0;
    for (var slab = 0u; slab < params.slabs; slab++) {
        sum += partials[slab * params.count + i];
    }
    output[i] = sum;
}
