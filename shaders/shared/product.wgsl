
// Appended to linear and matmul: output[i, j] = epilogue(sum over k of a[i, k] b[k, j] + bias[j]), the result
// row-major. The factors are strided matrices, so that one entry point serves the forward pass and both gradients:
// A_ALONG_K and B_ALONG_K say whether neighbours in memory are neighbours along K, VECTOR_A and VECTOR_B whether four of
// them can be read at once. A long sum over k is split into slabs, which reduce_slabs adds up.

struct Params {
    m: u32, n: u32, k: u32,
    a_stride: u32, b_stride: u32,
    tiles_m: u32, tiles_n: u32,
    slabs: u32, slab_len: u32, slab_stride: u32,
    rows: u32, columns: u32, count: u32,
    has_bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Packed>;
@group(0) @binding(2) var<storage, read> b: array<Packed>;

fn a1(at: u32) -> f32 {
    return unpack(a[at / PACK])[at % PACK];
}

fn b1(at: u32) -> f32 {
    return unpack(b[at / PACK])[at % PACK];
}

fn a4(at: u32) -> vec4<f32> {
    if PACK == 4u {
        return unpack(a[at / 4u]);
    }
    return vec4<f32>(a1(at), a1(at + 1u), a1(at + 2u), a1(at + 3u));
}

fn b4(at: u32) -> vec4<f32> {
    if PACK == 4u {
        return unpack(b[at / 4u]);
    }
    return vec4<f32>(b1(at), b1(at + 1u), b1(at + 2u), b1(at + 3u));
}

// Four neighbours of a row of `a` from element i on; beyond `extent` zero if `zero` says so, else the row's last.
fn a_row(row: u32, i: u32, extent: u32, zero: bool) -> vec4<f32> {
    let first = row * params.a_stride;
    if VECTOR_A {
        if zero && i >= extent {
            return vec4<f32>();
        }
        return a4(first + min(i, extent - 4u));
    }
    let last = extent - 1u;
    let values = vec4<f32>(
        a1(first + min(i, last)),
        a1(first + min(i + 1u, last)),
        a1(first + min(i + 2u, last)),
        a1(first + min(i + 3u, last)),
    );
    return select(values, vec4<f32>(), vec4<bool>(zero) & (vec4<u32>(i, i + 1u, i + 2u, i + 3u) >= vec4<u32>(extent)));
}

fn b_row(row: u32, i: u32, extent: u32, zero: bool) -> vec4<f32> {
    let first = row * params.b_stride;
    if VECTOR_B {
        if zero && i >= extent {
            return vec4<f32>();
        }
        return b4(first + min(i, extent - 4u));
    }
    let last = extent - 1u;
    let values = vec4<f32>(
        b1(first + min(i, last)),
        b1(first + min(i + 1u, last)),
        b1(first + min(i + 2u, last)),
        b1(first + min(i + 3u, last)),
    );
    return select(values, vec4<f32>(), vec4<bool>(zero) & (vec4<u32>(i, i + 1u, i + 2u, i + 3u) >= vec4<u32>(extent)));
}

// A row across K at step k of `a` or `b`; zero from the slab's end on.
fn a_across(k: u32, last_k: u32, m: u32) -> vec4<f32> {
    if k >= last_k {
        return vec4<f32>();
    }
    return a_row(k, m, params.m, false);
}

fn b_across(k: u32, last_k: u32, n: u32) -> vec4<f32> {
    if k >= last_k {
        return vec4<f32>();
    }
    return b_row(k, n, params.n, false);
}

fn fetch_a(slot: u32, local: u32, first_m: u32, k0: u32, last_k: u32) {
    let block = slot * GEMM_INVOCATIONS + local;
    if block < BLOCKS_A {
        let at = block_at(block, QUADS_M, A_ALONG_K);
        let m = first_m + 4u * at.x;
        let k = k0 + 4u * at.y;
        if A_ALONG_K {
            let last = params.m - 1u;
            fetched_a[slot] = transpose(mat4x4<f32>(
                a_row(min(m, last), k, last_k, true),
                a_row(min(m + 1u, last), k, last_k, true),
                a_row(min(m + 2u, last), k, last_k, true),
                a_row(min(m + 3u, last), k, last_k, true),
            ));
        } else {
            fetched_a[slot] = mat4x4<f32>(
                a_across(k, last_k, m),
                a_across(k + 1u, last_k, m),
                a_across(k + 2u, last_k, m),
                a_across(k + 3u, last_k, m),
            );
        }
    }
}

fn fetch_b(slot: u32, local: u32, first_n: u32, k0: u32, last_k: u32) {
    let block = slot * GEMM_INVOCATIONS + local;
    if block < BLOCKS_B {
        let at = block_at(block, QUADS_N, B_ALONG_K);
        let n = first_n + 4u * at.x;
        let k = k0 + 4u * at.y;
        if B_ALONG_K {
            let last = params.n - 1u;
            fetched_b[slot] = transpose(mat4x4<f32>(
                b_row(min(n, last), k, last_k, true),
                b_row(min(n + 1u, last), k, last_k, true),
                b_row(min(n + 2u, last), k, last_k, true),
                b_row(min(n + 3u, last), k, last_k, true),
            ));
        } else {
            fetched_b[slot] = mat4x4<f32>(
                b_across(k, last_k, n),
                b_across(k + 1u, last_k, n),
                b_across(k + 2u, last_k, n),
                b_across(k + 3u, last_k, n),
            );
        }
    }
}

fn fetch(local: u32, tile: vec3<u32>, k0: u32, last_k: u32) {
    fetch_a(0u, local, tile.x, k0, last_k);
    if EACH_A > 1u {
        fetch_a(1u, local, tile.x, k0, last_k);
    }
    fetch_b(0u, local, tile.y, k0, last_k);
    if EACH_B > 1u {
        fetch_b(1u, local, tile.y, k0, last_k);
    }
}

fn store_product(first: u32, local: u32, tile: vec3<u32>) {
    let m = tile.x + quadrant_row(local, first);
    let n = tile.y + quadrant_column(local, first);
    let count = params.n - min(n, params.n);
    var shift = vec4<f32>();
    if params.has_bias != 0u {
        shift = bias4(n, params.n);
    }
    let at = tile.z * params.slab_stride + m * params.n + n;
    let rows = params.m - min(m, params.m);
    store4(at, epilogue(accumulator[first] + shift), select(0u, count, rows > 0u));
    store4(at + params.n, epilogue(accumulator[first + 1u] + shift), select(0u, count, rows > 1u));
    store4(at + 2u * params.n, epilogue(accumulator[first + 2u] + shift), select(0u, count, rows > 2u));
    store4(at + 3u * params.n, epilogue(accumulator[first + 3u] + shift), select(0u, count, rows > 3u));
}

@compute @workgroup_size(GEMM_INVOCATIONS)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = tile_at(flat_group(group, groups), params.tiles_m, params.tiles_n);
    if tile.z >= params.slabs {
        return;
    }
    let first_k = tile.z * params.slab_len;
    let last_k = min(first_k + params.slab_len, params.k);
    var k0 = first_k;
    loop {
        workgroupBarrier();
        if k0 < last_k {
            fetch(local, tile, k0, last_k);
        }
        if k0 > first_k {
            multiply_tile(local);
        }
        workgroupBarrier();
        if k0 >= last_k {
            break;
        }
        stage_blocks(local, A_ALONG_K, B_ALONG_K);
        k0 += TILE_K;
    }
    store_product(0u, local, tile);
    if ACCUMULATORS > 4u {
        store_product(4u, local, tile);
    }
    if ACCUMULATORS > 8u {
        store_product(8u, local, tile);
        store_product(12u, local, tile);
    }
}
