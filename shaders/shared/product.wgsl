
// Appended to linear and matmul: output[i, j] = epilogue(sum over k of a[i, k] b[k, j] + bias[j]), the result
// row-major. The factors are strided matrices, so that one entry point serves the forward pass and both gradients:
// A_ALONG_K and B_ALONG_K say whether neighbours in memory are neighbours along K, VECTOR_A and VECTOR_B whether four of
// them can be read at once. A long sum over k is split into slabs, which reduce_slabs adds up.
//
// A dispatch makes the rows first_m..m and columns first_n..n of the terms first_k..k: all, unless one of the matrices is
// too large to be bound at once. Of `b` and `output` then a part of their rows is bound, beginning with the first that is
// used; where CONTINUES says so, sums whose first terms another dispatch has added go on from what it has stored, so that
// no bit changes.

struct Params {
    first_m: u32, first_n: u32, first_k: u32,
    m: u32, n: u32, k: u32,
    a_stride: u32, b_stride: u32, output_stride: u32,
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
    return b_row(k - params.first_k, n, params.n, false);
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
            let last = params.n - 1u - params.first_n;
            let row = n - params.first_n;
            fetched_b[slot] = transpose(mat4x4<f32>(
                b_row(min(row, last), k, last_k, true),
                b_row(min(row + 1u, last), k, last_k, true),
                b_row(min(row + 2u, last), k, last_k, true),
                b_row(min(row + 3u, last), k, last_k, true),
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

// Where a quadrant of a tile lies in the output, and how many rows and columns from there on are to be made.
fn quadrant_at(first: u32, local: u32, tile: vec3<u32>) -> vec3<u32> {
    let m = tile.x + quadrant_row(local, first);
    let n = tile.y + quadrant_column(local, first);
    let at = tile.z * params.slab_stride + (m - params.first_m) * params.output_stride + n;
    return vec3<u32>(at, params.m - min(m, params.m), params.n - min(n, params.n));
}

fn store_product(first: u32, local: u32, tile: vec3<u32>) {
    let quadrant = quadrant_at(first, local, tile);
    let at = quadrant.x;
    let stride = params.output_stride;
    var shift = vec4<f32>();
    if params.has_bias != 0u {
        shift = bias4(tile.y + quadrant_column(local, first), params.n);
    }
    store4(at, epilogue(accumulator[first] + shift), select(0u, quadrant.z, quadrant.y > 0u));
    store4(at + stride, epilogue(accumulator[first + 1u] + shift), select(0u, quadrant.z, quadrant.y > 1u));
    store4(at + 2u * stride, epilogue(accumulator[first + 2u] + shift), select(0u, quadrant.z, quadrant.y > 2u));
    store4(at + 3u * stride, epilogue(accumulator[first + 3u] + shift), select(0u, quadrant.z, quadrant.y > 3u));
}

// Goes on from the sums that another dispatch has stored.
fn continue_product(first: u32, local: u32, tile: vec3<u32>) {
    let quadrant = quadrant_at(first, local, tile);
    let stride = params.output_stride;
    accumulator[first] = stored4(quadrant.x, select(0u, quadrant.z, quadrant.y > 0u));
    accumulator[first + 1u] = stored4(quadrant.x + stride, select(0u, quadrant.z, quadrant.y > 1u));
    accumulator[first + 2u] = stored4(quadrant.x + 2u * stride, select(0u, quadrant.z, quadrant.y > 2u));
    accumulator[first + 3u] = stored4(quadrant.x + 3u * stride, select(0u, quadrant.z, quadrant.y > 3u));
}

@compute @workgroup_size(GEMM_INVOCATIONS)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let within = tile_at(flat_group(group, groups), params.tiles_m, params.tiles_n);
    let tile = within + vec3<u32>(params.first_m, params.first_n, 0u);
    let slab = tile.z * params.slab_len;
    let first_k = max(slab, params.first_k);
    let last_k = min(slab + params.slab_len, params.k);
    if tile.z >= params.slabs || first_k >= last_k {
        return;
    }
    if CONTINUES && first_k > slab {
        continue_product(0u, local, tile);
        if ACCUMULATORS > 4u {
            continue_product(4u, local, tile);
        }
        if ACCUMULATORS > 8u {
            continue_product(8u, local, tile);
            continue_product(12u, local, tile);
        }
    }
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
