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

// Element (h, w) of an image under tap (r, s) of output (p, q); outside of the image it is padding.
fn tap_offset(p: u32, q: u32, r: u32, s: u32) -> vec2<i32> {
    return vec2<i32>(
        i32(p * params.stride_h + r * params.dilation_h) - i32(params.padding_h),
        i32(q * params.stride_w + s * params.dilation_w) - i32(params.padding_w),
    );
}

fn in_image(at: vec2<i32>) -> bool {
    return at.x >= 0 && at.y >= 0 && at.x < i32(params.h) && at.y < i32(params.w);
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
    for (var k0 = 0u; k0 < gemm_k; k0 += TILE_K) {
        for (var i = local; i < TILE_K * TILE_M; i += GEMM_INVOCATIONS) {
            let m = first_m + i % TILE_M;
            let k = k0 + i / TILE_M;
            var value = 0.0;
            if m < gemm_m && k < gemm_k {
                let q = m % params.q;
                let p = m / params.q % params.p;
                let sample = m / (params.q * params.p);
                let tap = k / channels;
                let at = tap_offset(p, q, tap / params.s, tap % params.s);
                if in_image(at) {
                    let pixel = (sample * params.h + u32(at.x)) * params.w + u32(at.y);
                    value = input[pixel * params.c + group.z * channels + k % channels];
                }
            }
            stage_a[i] = value;
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
        workgroupBarrier();
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

// grad_input[n, h, w, c] = sum over r, s, k with p stride + r dilation - padding = h of grad_output[n, p, q, k] weight[k, r, s, c]
@compute @workgroup_size(GEMM_INVOCATIONS)
fn grad_input(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let channels = params.c / params.groups;
    let filters = params.k / params.groups;
    let gemm_m = params.n * params.h * params.w;
    let gemm_k = params.r * params.s * filters;
    let first_m = group.x * TILE_M;
    let first_n = group.y * TILE_N;
    for (var k0 = 0u; k0 < gemm_k; k0 += TILE_K) {
        for (var i = local; i < TILE_K * TILE_M; i += GEMM_INVOCATIONS) {
            let m = first_m + i % TILE_M;
            let k = k0 + i / TILE_M;
            var value = 0.0;
            if m < gemm_m && k < gemm_k {
                let tap = k / filters;
                // p stride = h + padding - r dilation, if it divides
                let down = i32(m / params.w % params.h + params.padding_h) - i32(tap / params.s * params.dilation_h);
                let right = i32(m % params.w + params.padding_w) - i32(tap % params.s * params.dilation_w);
                if down >= 0 && right >= 0 {
                    let p = u32(down) / params.stride_h;
                    let q = u32(right) / params.stride_w;
                    if p * params.stride_h == u32(down) && q * params.stride_w == u32(right)
                        && p < params.p && q < params.q {
                        let sample = m / (params.w * params.h);
                        let pixel = (sample * params.p + p) * params.q + q;
                        value = grad_output[pixel * params.k + group.z * filters + k % filters];
                    }
                }
            }
            stage_a[i] = value;
        }
        for (var i = local; i < TILE_K * TILE_N; i += GEMM_INVOCATIONS) {
            let n = first_n + i % TILE_N;
            let k = k0 + i / TILE_N;
            var value = 0.0;
            if n < channels && k < gemm_k {
                let filter_index = group.z * filters + k % filters;
                value = weight[(filter_index * params.r * params.s + k / filters) * channels + n];
            }
            stage_b[i] = value;
        }
        workgroupBarrier();
        multiply_tile(local);
        workgroupBarrier();
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
    let last_k = min((slab + 1u) * params.slab_len, params.n * params.p * params.q);
    for (var k0 = slab * params.slab_len; k0 < last_k; k0 += TILE_K) {
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
            let n = first_n + i % TILE_N;
            let k = k0 + i / TILE_N;
            var value = 0.0;
            if n < gemm_n && k < last_k {
                let tap = n / channels;
                let at = tap_offset(k / params.q % params.p, k % params.q, tap / params.s, tap % params.s);
                if in_image(at) {
                    let pixel = (k / (params.q * params.p) * params.h + u32(at.x)) * params.w + u32(at.y);
                    value = input[pixel * params.c + group_index * channels + n % channels];
                }
            }
            stage_b[i] = value;
        }
        workgroupBarrier();
        multiply_tile(local);
        workgroupBarrier();
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
