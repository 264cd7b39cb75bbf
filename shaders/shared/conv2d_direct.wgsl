
// Products of conv2d without workgroup memory: an invocation makes 4 rows x THREAD_N columns (of grad_weight THREAD_M
// rows x 4 columns) straight from the factors. The 64 invocations of a workgroup differ only in the side of four, so that
// the other factor is the same for all of them, and one step along GEMM_K is uniform. Sums have the order of the tiles.
// Index maps are in shaders/conv2d.wgsl and shared/conv2d_gradients.wgsl.

// Four rows, each at four steps, by four steps, each at four columns.
fn multiply_rows(first: u32, a: mat4x4<f32>, b: mat4x4<f32>) {
    accumulator[first] = fma(vec4<f32>(a[0].x), b[0], accumulator[first]);
    accumulator[first] = fma(vec4<f32>(a[0].y), b[1], accumulator[first]);
    accumulator[first] = fma(vec4<f32>(a[0].z), b[2], accumulator[first]);
    accumulator[first] = fma(vec4<f32>(a[0].w), b[3], accumulator[first]);
    accumulator[first + 1u] = fma(vec4<f32>(a[1].x), b[0], accumulator[first + 1u]);
    accumulator[first + 1u] = fma(vec4<f32>(a[1].y), b[1], accumulator[first + 1u]);
    accumulator[first + 1u] = fma(vec4<f32>(a[1].z), b[2], accumulator[first + 1u]);
    accumulator[first + 1u] = fma(vec4<f32>(a[1].w), b[3], accumulator[first + 1u]);
    accumulator[first + 2u] = fma(vec4<f32>(a[2].x), b[0], accumulator[first + 2u]);
    accumulator[first + 2u] = fma(vec4<f32>(a[2].y), b[1], accumulator[first + 2u]);
    accumulator[first + 2u] = fma(vec4<f32>(a[2].z), b[2], accumulator[first + 2u]);
    accumulator[first + 2u] = fma(vec4<f32>(a[2].w), b[3], accumulator[first + 2u]);
    accumulator[first + 3u] = fma(vec4<f32>(a[3].x), b[0], accumulator[first + 3u]);
    accumulator[first + 3u] = fma(vec4<f32>(a[3].y), b[1], accumulator[first + 3u]);
    accumulator[first + 3u] = fma(vec4<f32>(a[3].z), b[2], accumulator[first + 3u]);
    accumulator[first + 3u] = fma(vec4<f32>(a[3].w), b[3], accumulator[first + 3u]);
}

// ---- forward

// Four steps from k on, for the filters of a quad.
fn direct_filters(quad: u32, a: mat4x4<f32>, first_filter: u32, n: u32, k: u32, gemm_k: u32, filters: u32) {
    if 4u * quad < THREAD_N {
        let column = n + 4u * quad;
        multiply_rows(4u * quad, a, transpose(mat4x4<f32>(
            weight4((first_filter + last_if_beyond(column, filters)) * gemm_k + k),
            weight4((first_filter + last_if_beyond(column + 1u, filters)) * gemm_k + k),
            weight4((first_filter + last_if_beyond(column + 2u, filters)) * gemm_k + k),
            weight4((first_filter + last_if_beyond(column + 3u, filters)) * gemm_k + k),
        )));
    }
}

// One step.
fn direct_filters_once(quad: u32, a: vec4<f32>, first_filter: u32, n: u32, k: u32, gemm_k: u32, filters: u32) {
    if 4u * quad < THREAD_N {
        let column = n + 4u * quad;
        multiply_quadrant(4u * quad, a, vec4<f32>(
            weight1((first_filter + last_if_beyond(column, filters)) * gemm_k + k),
            weight1((first_filter + last_if_beyond(column + 1u, filters)) * gemm_k + k),
            weight1((first_filter + last_if_beyond(column + 2u, filters)) * gemm_k + k),
            weight1((first_filter + last_if_beyond(column + 3u, filters)) * gemm_k + k),
        ));
    }
}

fn beyond(at: i32, channel: u32) -> i32 {
    return select(-1, at + i32(channel), at >= 0);
}

fn direct_store(quad: u32, m: u32, n: u32, gemm_m: u32, filters: u32, first_filter: u32) {
    let column = n + 4u * quad;
    if 4u * quad < THREAD_N && column < filters {
        var shift = vec4<f32>();
        if params.has_bias != 0u {
            shift = bias4(first_filter + column, params.k);
        }
        let count = filters - column;
        let at = m * params.k + first_filter + column;
        let rows = gemm_m - min(m, gemm_m);
        store4(at, epilogue(accumulator[4u * quad] + shift), select(0u, count, rows > 0u));
        store4(at + 64u * params.k, epilogue(accumulator[4u * quad + 1u] + shift), select(0u, count, rows > 64u));
        store4(at + 128u * params.k, epilogue(accumulator[4u * quad + 2u] + shift), select(0u, count, rows > 128u));
        store4(at + 192u * params.k, epilogue(accumulator[4u * quad + 3u] + shift), select(0u, count, rows > 192u));
    }
}

@compute @workgroup_size(64)
fn direct_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = tile_at(flat_group(group, groups), params.tiles_m, params.tiles_n);
    if tile.z >= params.groups {
        return;
    }
    let channels = params.c / params.groups;
    let filters = params.k / params.groups;
    let first = tile.z * filters;
    let gemm_m = params.n * params.p * params.q;
    let gemm_k = params.r * params.s * channels;
    let extent = vec2<u32>(params.h, params.w);
    let m = tile.x + local;
    let edge0 = window_at(last_if_beyond(m, gemm_m), tile.z * channels);
    let edge1 = window_at(last_if_beyond(m + 64u, gemm_m), tile.z * channels);
    let edge2 = window_at(last_if_beyond(m + 128u, gemm_m), tile.z * channels);
    let edge3 = window_at(last_if_beyond(m + 192u, gemm_m), tile.z * channels);
    for (var k = 0u; k < gemm_k; k += channels) {
        let step = tap_at(k, channels);
        let at0 = meeting(edge0, step, extent);
        let at1 = meeting(edge1, step, extent);
        let at2 = meeting(edge2, step, extent);
        let at3 = meeting(edge3, step, extent);
        if VECTOR_A {
            for (var c = 0u; c < channels; c += 4u) {
                let a = mat4x4<f32>(
                    input4(beyond(at0, c)),
                    input4(beyond(at1, c)),
                    input4(beyond(at2, c)),
                    input4(beyond(at3, c)),
                );
                direct_filters(0u, a, first, tile.y, k + c, gemm_k, filters);
                direct_filters(1u, a, first, tile.y, k + c, gemm_k, filters);
                direct_filters(2u, a, first, tile.y, k + c, gemm_k, filters);
                direct_filters(3u, a, first, tile.y, k + c, gemm_k, filters);
            }
        } else {
            for (var c = 0u; c < channels; c++) {
                let a = vec4<f32>(
                    input1(beyond(at0, c)),
                    input1(beyond(at1, c)),
                    input1(beyond(at2, c)),
                    input1(beyond(at3, c)),
                );
                direct_filters_once(0u, a, first, tile.y, k + c, gemm_k, filters);
                direct_filters_once(1u, a, first, tile.y, k + c, gemm_k, filters);
                direct_filters_once(2u, a, first, tile.y, k + c, gemm_k, filters);
                direct_filters_once(3u, a, first, tile.y, k + c, gemm_k, filters);
            }
        }
    }
    direct_store(0u, m, tile.y, gemm_m, filters, first);
    direct_store(1u, m, tile.y, gemm_m, filters, first);
    direct_store(2u, m, tile.y, gemm_m, filters, first);
    direct_store(3u, m, tile.y, gemm_m, filters, first);
}

// ---- grad_input

fn direct_channels(quad: u32, a: mat4x4<f32>, step: vec4<i32>, n: u32, channels: u32) {
    if 4u * quad < THREAD_N {
        let stride = i32(params.r * params.s * channels);
        let next = vec4<i32>(0, 0, 0, stride);
        multiply_rows(4u * quad, a, mat4x4<f32>(
            channel_row(step, n + 4u * quad, channels),
            channel_row(step + next, n + 4u * quad, channels),
            channel_row(step + 2 * next, n + 4u * quad, channels),
            channel_row(step + 3 * next, n + 4u * quad, channels),
        ));
    }
}

fn direct_channels_once(quad: u32, a: vec4<f32>, step: vec4<i32>, n: u32, channels: u32) {
    if 4u * quad < THREAD_N {
        multiply_quadrant(4u * quad, a, channel_row(step, n + 4u * quad, channels));
    }
}

fn grad_output_at(at: i32, f: u32) -> vec4<f32> {
    if at < 0 {
        return vec4<f32>();
    }
    return grad_output4(u32(at) + f);
}

fn grad_output_once(at: i32, f: u32) -> f32 {
    if at < 0 {
        return 0.0;
    }
    return grad_output1(u32(at) + f);
}

fn direct_store_pixels(quad: u32, pixels: vec4<i32>, rows: u32, n: u32, channels: u32, group_index: u32) {
    let column = n + 4u * quad;
    if 4u * quad < THREAD_N && column < channels {
        let count = channels - column;
        let at = group_index * channels + column;
        store4(u32(pixels.x) * params.c + at, accumulator[4u * quad], select(0u, count, rows > 0u));
        store4(u32(pixels.y) * params.c + at, accumulator[4u * quad + 1u], select(0u, count, rows > 64u));
        store4(u32(pixels.z) * params.c + at, accumulator[4u * quad + 2u], select(0u, count, rows > 128u));
        store4(u32(pixels.w) * params.c + at, accumulator[4u * quad + 3u], select(0u, count, rows > 192u));
    }
}

@compute @workgroup_size(64)
fn direct_grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = tile_at(flat_group(group, groups), params.tiles_m, params.tiles_n);
    let phase = phase_at(tile.z);
    let channels = params.c / params.groups;
    let filters = params.k / params.groups;
    let gemm_m = params.n * phase.down.pixels * phase.right.pixels;
    if phase.group_index >= params.groups || tile.x >= gemm_m {
        return;
    }
    let extent = vec2<u32>(params.p, params.q);
    let m = tile.x + local;
    let edge0 = pixel_edge(last_if_beyond(m, gemm_m), phase);
    let edge1 = pixel_edge(last_if_beyond(m + 64u, gemm_m), phase);
    let edge2 = pixel_edge(last_if_beyond(m + 128u, gemm_m), phase);
    let edge3 = pixel_edge(last_if_beyond(m + 192u, gemm_m), phase);
    let taps = phase.down.taps * phase.right.taps;
    for (var tap = 0u; tap < taps; tap++) {
        let step = step_of(tap, 0u, phase);
        let stride = vec4<i32>(0, 0, 0, i32(params.r * params.s * channels));
        let at0 = meeting(edge0, step, extent);
        let at1 = meeting(edge1, step, extent);
        let at2 = meeting(edge2, step, extent);
        let at3 = meeting(edge3, step, extent);
        if VECTOR_A {
            for (var f = 0u; f < filters; f += 4u) {
                let a = mat4x4<f32>(
                    grad_output_at(at0, f),
                    grad_output_at(at1, f),
                    grad_output_at(at2, f),
                    grad_output_at(at3, f),
                );
                let from_filter = step + i32(f) * stride;
                direct_channels(0u, a, from_filter, tile.y, channels);
                direct_channels(1u, a, from_filter, tile.y, channels);
                direct_channels(2u, a, from_filter, tile.y, channels);
                direct_channels(3u, a, from_filter, tile.y, channels);
            }
        } else {
            for (var f = 0u; f < filters; f++) {
                let a = vec4<f32>(
                    grad_output_once(at0, f),
                    grad_output_once(at1, f),
                    grad_output_once(at2, f),
                    grad_output_once(at3, f),
                );
                let from_filter = step + i32(f) * stride;
                direct_channels_once(0u, a, from_filter, tile.y, channels);
                direct_channels_once(1u, a, from_filter, tile.y, channels);
                direct_channels_once(2u, a, from_filter, tile.y, channels);
                direct_channels_once(3u, a, from_filter, tile.y, channels);
            }
        }
    }
    let pixels = vec4<i32>(edge0.w, edge1.w, edge2.w, edge3.w);
    let rows = gemm_m - min(m, gemm_m);
    direct_store_pixels(0u, pixels, rows, tile.y, channels, phase.group_index);
    direct_store_pixels(1u, pixels, rows, tile.y, channels, phase.group_index);
    direct_store_pixels(2u, pixels, rows, tile.y, channels, phase.group_index);
    direct_store_pixels(3u, pixels, rows, tile.y, channels, phase.group_index);
}

// ---- grad_weight: an invocation makes THREAD_M filters x 4 columns of one slab. SLAB_LANES neighbouring invocations take
// different slabs, where a filter has so few columns that a workgroup would have nothing to do.

fn direct_gradients(quad: u32, k: u32, first_filter: u32, m: u32, filters: u32, b: vec4<f32>) {
    if 4u * quad < THREAD_M {
        let at = k * params.k + first_filter;
        let row = m + 4u * quad;
        if VECTOR_A {
            multiply_quadrant(4u * quad, grad_output4(at + min(row, filters - 4u)), b);
        } else {
            multiply_quadrant(4u * quad, vec4<f32>(
                grad_output1(at + last_if_beyond(row, filters)),
                grad_output1(at + last_if_beyond(row + 1u, filters)),
                grad_output1(at + last_if_beyond(row + 2u, filters)),
                grad_output1(at + last_if_beyond(row + 3u, filters)),
            ), b);
        }
    }
}

fn direct_store_partial(quad: u32, at: u32, m: u32, filters: u32, gemm_n: u32, count: u32) {
    if 4u * quad < THREAD_M {
        let rows = filters - min(m + 4u * quad, filters);
        let start = at + (m + 4u * quad) * gemm_n;
        store4(start, accumulator[4u * quad], select(0u, count, rows > 0u));
        store4(start + gemm_n, accumulator[4u * quad + 1u], select(0u, count, rows > 1u));
        store4(start + 2u * gemm_n, accumulator[4u * quad + 2u], select(0u, count, rows > 2u));
        store4(start + 3u * gemm_n, accumulator[4u * quad + 3u], select(0u, count, rows > 3u));
    }
}

@compute @workgroup_size(64)
fn direct_grad_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = tile_at(flat_group(group, groups), params.tiles_m, params.tiles_n);
    var slab = tile.z / params.groups;
    var n = tile.y + 4u * local;
    if SLAB_LANES > 1u {
        slab = slab * SLAB_LANES + local % SLAB_LANES;
        n = 4u * (local / SLAB_LANES);
    }
    let group_index = tile.z % params.groups;
    let channels = params.c / params.groups;
    let filters = params.k / params.groups;
    let gemm_n = params.r * params.s * channels;
    if slab >= params.slabs || n >= gemm_n {
        return;
    }
    let extent = vec2<u32>(params.h, params.w);
    let edge0 = tap_at(n, channels);
    let edge1 = tap_at(last_if_beyond(n + 1u, gemm_n), channels);
    let edge2 = tap_at(last_if_beyond(n + 2u, gemm_n), channels);
    let edge3 = tap_at(last_if_beyond(n + 3u, gemm_n), channels);
    let first_k = slab * params.slab_len;
    let last_k = min(first_k + params.slab_len, params.n * params.p * params.q);
    let first = group_index * filters;
    // The window of pixel k, moved along rather than divided.
    var window = window_at(first_k, group_index * channels);
    var q = first_k % params.q;
    for (var k = first_k; k < last_k; k++) {
        var b = vec4<f32>();
        if VECTOR_B {
            b = input4(meeting(edge0, window, extent));
        } else {
            b = vec4<f32>(
                input1(meeting(edge0, window, extent)),
                input1(meeting(edge1, window, extent)),
                input1(meeting(edge2, window, extent)),
                input1(meeting(edge3, window, extent)),
            );
        }
        direct_gradients(0u, k, first, tile.x, filters, b);
        direct_gradients(1u, k, first, tile.x, filters, b);
        direct_gradients(2u, k, first, tile.x, filters, b);
        direct_gradients(3u, k, first, tile.x, filters, b);
        q++;
        window.y += i32(params.stride_w);
        window.z += i32(params.stride_w * params.c);
        if q == params.q {
            q = 0u;
            window = window_at(min(k + 1u, last_k - 1u), group_index * channels);
        }
    }
    let at = slab * params.slab_stride + first * gemm_n + n;
    let count = gemm_n - n;
    direct_store_partial(0u, at, tile.x, filters, gemm_n, count);
    direct_store_partial(1u, at, tile.x, filters, gemm_n, count);
    direct_store_partial(2u, at, tile.x, filters, gemm_n, count);
    direct_store_partial(3u, at, tile.x, filters, gemm_n, count);
}
