
// The gradients of conv2d, whose bindings and index maps are in shaders/conv2d.wgsl.

// ---- grad_input: output[m, n] = sum over k of grad_output[m over tap, filter] weight[filter, tap, n]
//
// Where the weight comes in parts, so do the terms: those of a part's filters at one tap in a dispatch, which goes on from
// the sums that the dispatch before has stored (CONTINUES), so that the order of the terms is the same.

// Along one side of the image: how many pixels a phase has, its first tap and the number of its taps, and the output that
// the first tap reaches its first pixel from.
struct Phase {
    pixels: u32,
    tap: u32,
    taps: u32,
    first: i32,
}

fn phase_of(phase: u32, size: u32, kernel: u32, window: vec3<u32>, step: u32) -> Phase {
    if phase >= size {
        return Phase(0u, 0u, 0u, 0);
    }
    let stride = window.x;
    let at = i32(phase + window.y);
    let pixels = (size - 1u - phase) / stride + 1u;
    for (var tap = 0u; tap < min(step, kernel); tap++) {
        // Over a multiple of the stride, so that nothing negative is divided.
        let over = at + i32(stride * tap * window.z) - i32(tap * window.z);
        if over % i32(stride) == 0 {
            let taps = (kernel - 1u - tap) / step + 1u;
            return Phase(pixels, tap, taps, over / i32(stride) - i32(tap * window.z));
        }
    }
    return Phase(pixels, 0u, 0u, 0);
}

// A phase of a group: along both sides, and where its first pixel lies.
struct Phases {
    group_index: u32,
    h: u32,
    w: u32,
    down: Phase,
    right: Phase,
}

fn phase_at(number: u32) -> Phases {
    let phases = params.stride_h * params.stride_w;
    let h = number % phases / params.stride_w;
    let w = number % params.stride_w;
    let window_h = vec3<u32>(params.stride_h, params.padding_h, params.dilation_h);
    let window_w = vec3<u32>(params.stride_w, params.padding_w, params.dilation_w);
    return Phases(
        number / phases,
        h,
        w,
        phase_of(h, params.h, params.r, window_h, params.tap_step_h),
        phase_of(w, params.w, params.s, window_w, params.tap_step_w),
    );
}

// Pixel m of a phase, as an edge: the output that its first tap reaches it from.
fn pixel_edge(m: u32, phase: Phases) -> vec4<i32> {
    let h = m / phase.right.pixels % phase.down.pixels;
    let w = m % phase.right.pixels;
    let sample = m / (phase.right.pixels * phase.down.pixels);
    let p = i32(h) + phase.down.first;
    let q = i32(w) + phase.right.first;
    let over = (i32(sample * params.p) + p) * i32(params.q) + q;
    let row = sample * params.h + h * params.stride_h + phase.h;
    let pixel = row * params.w + w * params.stride_w + phase.w;
    let first = phase.group_index * (params.k / params.groups);
    return vec4<i32>(p, q, over * i32(params.k) + i32(first), i32(pixel));
}

// A filter at a tap of a phase, as a step.
fn step_of(tap: u32, filter_index: u32, phase: Phases) -> vec4<i32> {
    let r = tap / phase.right.taps;
    let s = tap % phase.right.taps;
    let p = -i32(r * params.tap_shift_h);
    let q = -i32(s * params.tap_shift_w);
    let row = phase.down.tap + r * params.tap_step_h;
    let of_filter = phase.group_index * (params.k / params.groups) + filter_index - params.first_filter;
    let at = (of_filter * params.r + row) * params.s + phase.right.tap + s * params.tap_step_w;
    let offset = (p * i32(params.q) + q) * i32(params.k) + i32(filter_index);
    return vec4<i32>(p, q, offset, i32(at * (params.c / params.groups)));
}

fn grad_output_row(edge: vec4<i32>, k: u32) -> vec4<f32> {
    let extent = vec2<u32>(params.p, params.q);
    let at = vec4<i32>(
        meeting(edge, steps[k], extent),
        meeting(edge, steps[k + 1u], extent),
        meeting(edge, steps[k + 2u], extent),
        meeting(edge, steps[k + 3u], extent),
    );
    if VECTOR_A {
        if at.x < 0 {
            return vec4<f32>();
        }
        return grad_output4(u32(at.x));
    }
    let values = vec4<f32>(
        grad_output1(u32(max(at.x, 0))),
        grad_output1(u32(max(at.y, 0))),
        grad_output1(u32(max(at.z, 0))),
        grad_output1(u32(max(at.w, 0))),
    );
    return select(values, vec4<f32>(), at < vec4<i32>(0));
}

// Four channels of one filter at one tap.
fn channel_row(step: vec4<i32>, n: u32, channels: u32) -> vec4<f32> {
    if step.w < 0 {
        return vec4<f32>();
    }
    if VECTOR_B {
        return weight4(u32(step.w) + min(n, channels - 4u));
    }
    return vec4<f32>(
        weight1(u32(step.w) + last_if_beyond(n, channels)),
        weight1(u32(step.w) + last_if_beyond(n + 1u, channels)),
        weight1(u32(step.w) + last_if_beyond(n + 2u, channels)),
        weight1(u32(step.w) + last_if_beyond(n + 3u, channels)),
    );
}

fn fetch_grad_output(slot: u32, local: u32) {
    let block = slot * GEMM_INVOCATIONS + local;
    if block < BLOCKS_A {
        let at = 4u * block_at(block, QUADS_M, true);
        fetched_a[slot] = transpose(mat4x4<f32>(
            grad_output_row(edges[at.x], at.y),
            grad_output_row(edges[at.x + 1u], at.y),
            grad_output_row(edges[at.x + 2u], at.y),
            grad_output_row(edges[at.x + 3u], at.y),
        ));
    }
}

fn fetch_channels(slot: u32, local: u32, first_n: u32, channels: u32) {
    let block = slot * GEMM_INVOCATIONS + local;
    if block < BLOCKS_B {
        let at = 4u * block_at(block, QUADS_N, false);
        fetched_b[slot] = mat4x4<f32>(
            channel_row(steps[at.y], first_n + at.x, channels),
            channel_row(steps[at.y + 1u], first_n + at.x, channels),
            channel_row(steps[at.y + 2u], first_n + at.x, channels),
            channel_row(steps[at.y + 3u], first_n + at.x, channels),
        );
    }
}

fn store_grad_input(first: u32, local: u32, tile: vec3<u32>, gemm_m: u32, channels: u32, group_index: u32) {
    let row = quadrant_row(local, first);
    let n = tile.y + quadrant_column(local, first);
    let count = channels - min(n, channels);
    let at = group_index * channels + n;
    let rows = gemm_m - min(tile.x + row, gemm_m);
    store4(u32(edges[row].w) * params.c + at, accumulator[first], select(0u, count, rows > 0u));
    store4(u32(edges[row + 1u].w) * params.c + at, accumulator[first + 1u], select(0u, count, rows > 1u));
    store4(u32(edges[row + 2u].w) * params.c + at, accumulator[first + 2u], select(0u, count, rows > 2u));
    store4(u32(edges[row + 3u].w) * params.c + at, accumulator[first + 3u], select(0u, count, rows > 3u));
}

// Goes on from the sums that another dispatch has stored.
fn continue_grad_input(first: u32, local: u32, tile: vec3<u32>, gemm_m: u32, channels: u32, group_index: u32) {
    let row = quadrant_row(local, first);
    let n = tile.y + quadrant_column(local, first);
    let count = channels - min(n, channels);
    let at = group_index * channels + n;
    let rows = gemm_m - min(tile.x + row, gemm_m);
    accumulator[first] = stored4(u32(edges[row].w) * params.c + at, select(0u, count, rows > 0u));
    accumulator[first + 1u] = stored4(u32(edges[row + 1u].w) * params.c + at, select(0u, count, rows > 1u));
    accumulator[first + 2u] = stored4(u32(edges[row + 2u].w) * params.c + at, select(0u, count, rows > 2u));
    accumulator[first + 3u] = stored4(u32(edges[row + 3u].w) * params.c + at, select(0u, count, rows > 3u));
}

@compute @workgroup_size(GEMM_INVOCATIONS)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = tile_at(flat_group(group, groups), params.tiles_m, params.tiles_n);
    let phase = phase_at(tile.z);
    let group_index = phase.group_index;
    let channels = params.c / params.groups;
    let filters = params.k / params.groups;
    let gemm_m = params.n * phase.down.pixels * phase.right.pixels;
    let gemm_k = min(phase.down.taps * phase.right.taps * filters, params.end_k);
    // A phase that no tap reaches is zero; one that has fewer taps than others is done before them.
    if group_index >= params.groups || tile.x >= gemm_m || (CONTINUES && params.first_k >= gemm_k) {
        return;
    }
    for (var i = local; i < TILE_M; i += GEMM_INVOCATIONS) {
        edges[i] = pixel_edge(last_if_beyond(tile.x + i, gemm_m), phase);
    }
    if CONTINUES {
        workgroupBarrier();
        continue_grad_input(0u, local, tile, gemm_m, channels, group_index);
        if ACCUMULATORS > 4u {
            continue_grad_input(4u, local, tile, gemm_m, channels, group_index);
        }
        if ACCUMULATORS > 8u {
            continue_grad_input(8u, local, tile, gemm_m, channels, group_index);
            continue_grad_input(12u, local, tile, gemm_m, channels, group_index);
        }
    }
    var k0 = params.first_k;
    loop {
        if local < TILE_K {
            steps[local] = NOWHERE;
            let k = k0 + local;
            if k < gemm_k {
                steps[local] = step_of(k / filters, k % filters, phase);
            }
        }
        workgroupBarrier();
        if k0 < gemm_k {
            fetch_grad_output(0u, local);
            if EACH_A > 1u {
                fetch_grad_output(1u, local);
            }
            fetch_channels(0u, local, tile.y, channels);
            if EACH_B > 1u {
                fetch_channels(1u, local, tile.y, channels);
            }
        }
        if k0 > params.first_k {
            multiply_tile(local);
        }
        workgroupBarrier();
        if k0 >= gemm_k {
            break;
        }
        stage_blocks(local, true, false);
        k0 += TILE_K;
    }
    store_grad_input(0u, local, tile, gemm_m, channels, group_index);
    if ACCUMULATORS > 4u {
        store_grad_input(4u, local, tile, gemm_m, channels, group_index);
    }
    if ACCUMULATORS > 8u {
        store_grad_input(8u, local, tile, gemm_m, channels, group_index);
        store_grad_input(12u, local, tile, gemm_m, channels, group_index);
    }
}

// ---- grad_weight: partial[slab][m, n] = sum over the slab's k of grad_output[k, m] im2col(input)[k, n]

fn filters_row(k: u32, last_k: u32, first_filter: u32, m: u32, filters: u32) -> vec4<f32> {
    if k >= last_k {
        return vec4<f32>();
    }
    let at = k * params.k + first_filter;
    if VECTOR_A {
        return grad_output4(at + min(m, filters - 4u));
    }
    return vec4<f32>(
        grad_output1(at + last_if_beyond(m, filters)),
        grad_output1(at + last_if_beyond(m + 1u, filters)),
        grad_output1(at + last_if_beyond(m + 2u, filters)),
        grad_output1(at + last_if_beyond(m + 3u, filters)),
    );
}

fn taps_row(step: vec4<i32>, n: u32) -> vec4<f32> {
    let extent = vec2<u32>(params.h, params.w);
    if VECTOR_B {
        return input4(meeting(edges[n], step, extent));
    }
    return vec4<f32>(
        input1(meeting(edges[n], step, extent)),
        input1(meeting(edges[n + 1u], step, extent)),
        input1(meeting(edges[n + 2u], step, extent)),
        input1(meeting(edges[n + 3u], step, extent)),
    );
}

fn fetch_gradients(slot: u32, local: u32, first: vec2<u32>, k0: u32, last_k: u32, filters: u32) {
    let block = slot * GEMM_INVOCATIONS + local;
    if block < BLOCKS_A {
        let at = 4u * block_at(block, QUADS_M, false);
        let k = k0 + at.y;
        let m = first.y + at.x;
        fetched_a[slot] = mat4x4<f32>(
            filters_row(k, last_k, first.x, m, filters),
            filters_row(k + 1u, last_k, first.x, m, filters),
            filters_row(k + 2u, last_k, first.x, m, filters),
            filters_row(k + 3u, last_k, first.x, m, filters),
        );
    }
}

fn fetch_taps(slot: u32, local: u32) {
    let block = slot * GEMM_INVOCATIONS + local;
    if block < BLOCKS_B {
        let at = 4u * block_at(block, QUADS_N, false);
        fetched_b[slot] = mat4x4<f32>(
            taps_row(steps[at.y], at.x),
            taps_row(steps[at.y + 1u], at.x),
            taps_row(steps[at.y + 2u], at.x),
            taps_row(steps[at.y + 3u], at.x),
        );
    }
}

fn store_partial(first: u32, local: u32, at: u32, tile: vec3<u32>, gemm_n: u32) {
    let m = tile.x + quadrant_row(local, first);
    let n = tile.y + quadrant_column(local, first);
    let count = gemm_n - min(n, gemm_n);
    let rows = params.end_filter - min(m, params.end_filter);
    let start = at + (m - params.first_filter) * gemm_n + n;
    store4(start, accumulator[first], select(0u, count, rows > 0u));
    store4(start + gemm_n, accumulator[first + 1u], select(0u, count, rows > 1u));
    store4(start + 2u * gemm_n, accumulator[first + 2u], select(0u, count, rows > 2u));
    store4(start + 3u * gemm_n, accumulator[first + 3u], select(0u, count, rows > 3u));
}

@compute @workgroup_size(GEMM_INVOCATIONS)
fn grad_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let within = tile_at(flat_group(group, groups), params.tiles_m, params.tiles_n);
    let tile = within + vec3<u32>(params.first_filter, 0u, 0u);
    let slab = tile.z / params.groups;
    let group_index = tile.z % params.groups;
    if slab >= params.slabs {
        return;
    }
    let channels = params.c / params.groups;
    let filters = params.k / params.groups;
    let gemm_n = params.r * params.s * channels;
    for (var i = local; i < TILE_N; i += GEMM_INVOCATIONS) {
        edges[i] = tap_at(last_if_beyond(tile.y + i, gemm_n), channels);
    }
    let first_k = slab * params.slab_len;
    let last_k = min(first_k + params.slab_len, params.n * params.p * params.q);
    let first = vec2<u32>(group_index * filters, tile.x);
    var k0 = first_k;
    loop {
        if local < TILE_K {
            steps[local] = NOWHERE;
            if k0 + local < last_k {
                steps[local] = window_at(k0 + local, group_index * channels);
            }
        }
        workgroupBarrier();
        if k0 < last_k {
            fetch_gradients(0u, local, first, k0, last_k, filters);
            if EACH_A > 1u {
                fetch_gradients(1u, local, first, k0, last_k, filters);
            }
            fetch_taps(0u, local);
            if EACH_B > 1u {
                fetch_taps(1u, local);
            }
        }
        if k0 > first_k {
            multiply_tile(local);
        }
        workgroupBarrier();
        if k0 >= last_k {
            break;
        }
        stage_blocks(local, false, false);
        k0 += TILE_K;
    }
    let at = slab * params.slab_stride + group_index * filters * gemm_n;
    store_partial(0u, local, at, tile, gemm_n);
    if ACCUMULATORS > 4u {
        store_partial(4u, local, at, tile, gemm_n);
    }
    if ACCUMULATORS > 8u {
        store_partial(8u, local, at, tile, gemm_n);
        store_partial(12u, local, at, tile, gemm_n);
    }
}
