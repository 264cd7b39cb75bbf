
// Direct kernels of conv2d with groups of few channels, where tiles would be mostly padding; bindings are in
// shaders/conv2d.wgsl. An invocation makes four channels (or filters), and four neighbouring columns of them where it makes
// pixels. VECTOR_A says that each group is one channel with one filter, and channels come by fours.

// Element of a pixel's channels; zero outside of the image.
fn pixel_at(sample: u32, h: i32, w: i32, extent: vec2<u32>) -> i32 {
    let inside = u32(h) < extent.x && u32(w) < extent.y;
    return select(-1, i32(sample * extent.x * extent.y) + h * i32(extent.y) + w, inside);
}

fn input_lanes(pixel: i32, channel: vec4<u32>) -> vec4<f32> {
    if pixel < 0 {
        return vec4<f32>();
    }
    let at = u32(pixel) * params.c;
    if VECTOR_A {
        return input4(i32(at + channel.x));
    }
    let lanes = vec4<i32>(vec4<u32>(at) + channel);
    return vec4<f32>(input1(lanes.x), input1(lanes.y), input1(lanes.z), input1(lanes.w));
}

fn grad_output_lanes(pixel: i32, filter_index: vec4<u32>) -> vec4<f32> {
    if pixel < 0 {
        return vec4<f32>();
    }
    let at = u32(pixel) * params.k;
    if VECTOR_A {
        return grad_output4(at + filter_index.x);
    }
    let lanes = vec4<u32>(at) + filter_index;
    return vec4<f32>(grad_output1(lanes.x), grad_output1(lanes.y), grad_output1(lanes.z), grad_output1(lanes.w));
}

fn weight_lanes(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(weight1(at.x), weight1(at.y), weight1(at.z), weight1(at.w));
}

// Four numbers from `first` on, those beyond the last repeated.
fn lanes_from(first: u32, count: u32) -> vec4<u32> {
    return min(vec4<u32>(first, first + 1u, first + 2u, first + 3u), vec4<u32>(count - 1u));
}

// Where an invocation works: first column, row and sample of its pixels, and its first channel; channels count fastest.
fn quarter_at(i: u32, channels: u32, extent: vec2<u32>) -> vec4<u32> {
    let quads = (channels + 3u) / 4u;
    let columns = (extent.y + 3u) / 4u;
    let pixels = i / quads;
    let rows = pixels / columns;
    return vec4<u32>(4u * (pixels % columns), rows % extent.x, rows / extent.x, 4u * (i % quads));
}

// output[n, p, q, k] = epilogue(sum over r, s, c of input[n, p over r, q over s, c] weight[k, r, s, c] + bias[k])
@compute @workgroup_size(WORKGROUP_SIZE)
fn grouped_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.count {
        return;
    }
    let at = quarter_at(i, params.k, vec2<u32>(params.p, params.q));
    let extent = vec2<u32>(params.h, params.w);
    let channels = params.c / params.groups;
    let filter_index = lanes_from(at.w, params.k);
    let first_channel = filter_index / (params.k / params.groups) * channels;
    let step_w = i32(params.stride_w);
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var tap = 0u; tap < params.r * params.s; tap++) {
        let h = i32(at.y * params.stride_h + tap / params.s * params.dilation_h) - i32(params.padding_h);
        let w = i32(at.x * params.stride_w + tap % params.s * params.dilation_w) - i32(params.padding_w);
        let pixels = vec4<i32>(
            pixel_at(at.z, h, w, extent),
            pixel_at(at.z, h, w + step_w, extent),
            pixel_at(at.z, h, w + 2 * step_w, extent),
            pixel_at(at.z, h, w + 3 * step_w, extent),
        );
        for (var c = 0u; c < channels; c++) {
            let factor = weight_lanes((filter_index * params.r * params.s + tap) * channels + c);
            let channel = first_channel + c;
            sum0 = fma(input_lanes(pixels.x, channel), factor, sum0);
            sum1 = fma(input_lanes(pixels.y, channel), factor, sum1);
            sum2 = fma(input_lanes(pixels.z, channel), factor, sum2);
            sum3 = fma(input_lanes(pixels.w, channel), factor, sum3);
        }
    }
    var shift = vec4<f32>();
    if params.has_bias != 0u {
        shift = bias4(at.w, params.k);
    }
    let first = ((at.z * params.p + at.y) * params.q + at.x) * params.k + at.w;
    let count = params.k - at.w;
    let columns = params.q - at.x;
    store4(first, epilogue(sum0 + shift), count);
    store4(first + params.k, epilogue(sum1 + shift), select(0u, count, columns > 1u));
    store4(first + 2u * params.k, epilogue(sum2 + shift), select(0u, count, columns > 2u));
    store4(first + 3u * params.k, epilogue(sum3 + shift), select(0u, count, columns > 3u));
}

// The output along one side whose window has the input at `at` under a tap: `at` is the input plus padding less the tap;
// -1 if there is none.
fn output_over(at: i32, stride: u32) -> i32 {
    let output_at = at / i32(stride);
    return select(-1, output_at, at >= 0 && output_at * i32(stride) == at);
}

// output[n, h, w, c] = sum over r, s and the group's filters of grad_output[n, h under r, w under s, k] weight[k, r, s, c]
@compute @workgroup_size(WORKGROUP_SIZE)
fn grouped_grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.count {
        return;
    }
    let at = quarter_at(i, params.c, vec2<u32>(params.h, params.w));
    let extent = vec2<u32>(params.p, params.q);
    let channels = params.c / params.groups;
    let filters = params.k / params.groups;
    let channel = lanes_from(at.w, params.c);
    let first_filter = channel / channels * filters;
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var tap = 0u; tap < params.r * params.s; tap++) {
        let p = output_over(i32(at.y + params.padding_h) - i32(tap / params.s * params.dilation_h), params.stride_h);
        let w = i32(at.x + params.padding_w) - i32(tap % params.s * params.dilation_w);
        let pixels = vec4<i32>(
            pixel_at(at.z, p, output_over(w, params.stride_w), extent),
            pixel_at(at.z, p, output_over(w + 1, params.stride_w), extent),
            pixel_at(at.z, p, output_over(w + 2, params.stride_w), extent),
            pixel_at(at.z, p, output_over(w + 3, params.stride_w), extent),
        );
        if all(pixels < vec4<i32>(0)) {
            continue;
        }
        for (var f = 0u; f < filters; f++) {
            let filter_index = first_filter + f;
            let factor = weight_lanes((filter_index * params.r * params.s + tap) * channels + channel % channels);
            sum0 = fma(grad_output_lanes(pixels.x, filter_index), factor, sum0);
            sum1 = fma(grad_output_lanes(pixels.y, filter_index), factor, sum1);
            sum2 = fma(grad_output_lanes(pixels.z, filter_index), factor, sum2);
            sum3 = fma(grad_output_lanes(pixels.w, filter_index), factor, sum3);
        }
    }
    let first = ((at.z * params.h + at.y) * params.w + at.x) * params.c + at.w;
    let count = params.c - at.w;
    let columns = params.w - at.x;
    store4(first, sum0, count);
    store4(first + params.c, sum1, select(0u, count, columns > 1u));
    store4(first + 2u * params.c, sum2, select(0u, count, columns > 2u));
    store4(first + 3u * params.c, sum3, select(0u, count, columns > 3u));
}

// partial[slab][k, r, s, c] = sum over the slab's n, p, q of grad_output[n, p, q, k] input[n, p over r, q over s, c]
@compute @workgroup_size(WORKGROUP_SIZE)
fn grouped_grad_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.count {
        return;
    }
    let quads = (params.k + 3u) / 4u;
    let channels = params.c / params.groups;
    let taps = params.r * params.s;
    let filter_index = lanes_from(4u * (i % quads), params.k);
    let c = i / quads % channels;
    let tap = i / quads / channels % taps;
    let slab = i / quads / channels / taps;
    let channel = filter_index / (params.k / params.groups) * channels + c;
    let down = i32(tap / params.s * params.dilation_h) - i32(params.padding_h);
    let right = i32(tap % params.s * params.dilation_w) - i32(params.padding_w);
    let extent = vec2<u32>(params.h, params.w);
    let first = slab * params.slab_len;
    let last = min(first + params.slab_len, params.n * params.p * params.q);
    var q = first % params.q;
    var p = first / params.q % params.p;
    var sample = first / params.q / params.p;
    var sum = vec4<f32>();
    for (var pixel = first; pixel < last; pixel++) {
        let under = pixel_at(sample, i32(p * params.stride_h) + down, i32(q * params.stride_w) + right, extent);
        if under >= 0 {
            sum = fma(grad_output_lanes(i32(pixel), filter_index), input_lanes(under, channel), sum);
        }
        q++;
        if q == params.q {
            q = 0u;
            p++;
        }
        if p == params.p {
            p = 0u;
            sample++;
        }
    }
    let at = vec4<u32>(slab * params.slab_stride) + (filter_index * taps + tap) * channels + c;
    let count = params.k - filter_index.x;
    store4(at.x, sum, 1u);
    store4(at.y, vec4<f32>(sum.y), select(0u, 1u, count > 1u));
    store4(at.z, vec4<f32>(sum.z), select(0u, 1u, count > 2u));
    store4(at.w, vec4<f32>(sum.w), select(0u, 1u, count > 3u));
}
