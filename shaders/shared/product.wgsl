
// Appended to linear and matmul: output[i, j] = sum over k of a[i, k] b[k, j] + bias[j], the result row-major. The
// factors are strided matrices, so that one entry point serves the forward pass and both gradients. A long sum over k
// is split into slabs (workgroup z), which reduce_slabs adds up in order.

struct Params {
    m: u32, n: u32, k: u32,
    a_m: u32, a_k: u32,
    b_k: u32, b_n: u32,
    has_bias: u32,
    slabs: u32,
    slab_len: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> partials: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// Element i of a staged tile as (outer, k), so that neighbours in i are neighbours in memory.
fn staged(i: u32, extent: u32, contiguous_k: bool) -> vec2<u32> {
    return select(vec2<u32>(i % extent, i / extent), vec2<u32>(i / TILE_K, i % TILE_K), contiguous_k);
}

@compute @workgroup_size(GEMM_INVOCATIONS)
fn product(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let first_m = group.x * TILE_M;
    let first_n = group.y * TILE_N;
    let slab = group.z;
    let last_k = min((slab + 1u) * params.slab_len, params.k);
    for (var k0 = slab * params.slab_len; k0 < last_k; k0 += TILE_K) {
        for (var i = local; i < TILE_K * TILE_M; i += GEMM_INVOCATIONS) {
            let at = staged(i, TILE_M, params.a_k == 1u);
            let m = first_m + at.x;
            let k = k0 + at.y;
            var value = 0.0;
            if m < params.m && k < last_k {
                value = a[m * params.a_m + k * params.a_k];
            }
            stage_a[at.y * TILE_M + at.x] = value;
        }
        for (var i = local; i < TILE_K * TILE_N; i += GEMM_INVOCATIONS) {
            let at = staged(i, TILE_N, params.b_k == 1u);
            let n = first_n + at.x;
            let k = k0 + at.y;
            var value = 0.0;
            if n < params.n && k < last_k {
                value = b[k * params.b_k + n * params.b_n];
            }
            stage_b[at.y * TILE_N + at.x] = value;
        }
        workgroupBarrier();
        multiply_tile(local);
        workgroupBarrier();
    }
    for (var i = 0u; i < THREAD_M * THREAD_N; i++) {
        let m = first_m + tile_row(local, i);
        let n = first_n + tile_column(local, i);
        if m < params.m && n < params.n {
            var value = accumulator[i];
            if params.has_bias != 0u {
                value += bias[n];
            }
            output[(slab * params.m + m) * params.n + n] = value;
        }
    }
}

// output[i] = sum over slabs, in order, of partials[slab][i], + bias
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
    if params.has_bias != 0u {
        sum += bias[i % params.n];
    }
    output[i] = sum;
}
