// batch_norm of a matrix: rows N H W, columns the channels C. Kernels do four elements at a time: sums take four channels
// down a slab of rows, the others four neighbours in memory, which straddle rows where C is no multiple of 4 (then
// ALIGNED is false). With an epilogue and a residual, y = epilogue(xhat weight + bias + residual) in one pass.
//
//   training    partial_statistics: mean and sum of squared deviations of each slab of rows
//               finish_statistics: mean, invstd and unbiased variance of each channel, one workgroup per four channels
//   both        normalize: y = (x - mean) invstd weight + bias; in evaluation from the running variance
//   gradients   partial_gradients and finish_gradients: sums of dz and dz xhat, as above; dz = dy epilogue'(z) where z is
//               computed again
//               grad_input: dx = weight invstd (dz - mean(dz) - xhat mean(dz xhat)), the means only in training

struct Params {
    rows: u32,
    columns: u32,
    slabs: u32,
    slab_len: u32,
    eps: f32,
    affine: u32,
    training: u32,
    has_residual: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Packed>;
@group(0) @binding(2) var<storage, read> residual: array<Packed>;
@group(0) @binding(3) var<storage, read> grad_output: array<Packed>;
@group(0) @binding(4) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> mean: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> spread: array<vec4<f32>>; // invstd in training, the running variance in evaluation
@group(0) @binding(8) var<storage, read> partials: array<vec4<f32>>; // [slab][2][four channels]
@group(0) @binding(9) var<storage, read> means: array<vec4<f32>>; // [2][four channels]: of dz, and of dz xhat times invstd
@group(0) @binding(10) var<storage, read_write> new_partials: array<vec4<f32>>;
@group(0) @binding(11) var<storage, read_write> new_mean: array<vec4<f32>>;
@group(0) @binding(12) var<storage, read_write> new_invstd: array<vec4<f32>>;
@group(0) @binding(13) var<storage, read_write> var_unbiased: array<vec4<f32>>;
@group(0) @binding(14) var<storage, read_write> new_grad_weight: array<vec4<f32>>;
@group(0) @binding(15) var<storage, read_write> new_grad_bias: array<vec4<f32>>;
@group(0) @binding(16) var<storage, read_write> new_means: array<vec4<f32>>;

// How many fours of channels there are; the last may be part padding.
fn quads() -> u32 {
    return (params.columns + 3u) / 4u;
}

// First row of a slab and the row after its last.
fn slab_rows(slab: u32) -> vec2<u32> {
    let first = slab * params.slab_len;
    return vec2<u32>(first, min(first + params.slab_len, params.rows));
}

// How many of the channels of a four exist, as a mask: padding is kept zero.
fn existing(quad: u32) -> vec4<bool> {
    return vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.columns);
}

// Four elements that begin `by` elements into the first of two fours.
fn straddle(first: vec4<f32>, second: vec4<f32>, by: u32) -> vec4<f32> {
    switch by {
        case 0u: {
            return first;
        }
        case 1u: {
            return vec4<f32>(first.yzw, second.x);
        }
        case 2u: {
            return vec4<f32>(first.zw, second.xy);
        }
        default: {
            return vec4<f32>(first.w, second.xyz);
        }
    }
}

fn input_at(at: u32) -> vec4<f32> {
    let first = unpack(input[at / 4u]);
    if ALIGNED || at % 4u == 0u {
        return first;
    }
    return straddle(first, unpack(input[min(at / 4u + 1u, arrayLength(&input) - 1u)]), at % 4u);
}

fn grad_at(at: u32) -> vec4<f32> {
    let first = unpack(grad_output[at / 4u]);
    if ALIGNED || at % 4u == 0u {
        return first;
    }
    return straddle(first, unpack(grad_output[min(at / 4u + 1u, arrayLength(&grad_output) - 1u)]), at % 4u);
}

// What a channel's elements are shifted and scaled by.
struct Channels {
    mean: vec4<f32>,
    invstd: vec4<f32>,
    weight: vec4<f32>,
    bias: vec4<f32>,
}

fn quad_channels(quad: u32) -> Channels {
    var weights = vec4<f32>(1.0);
    var biases = vec4<f32>(0.0);
    if params.affine != 0u {
        weights = weight[quad];
        biases = bias[quad];
    }
    return Channels(mean[quad], invstd_of(spread[quad]), weights, biases);
}

fn invstd_of(invstd_or_variance: vec4<f32>) -> vec4<f32> {
    if params.training != 0u {
        return invstd_or_variance;
    }
    return 1.0 / sqrt(invstd_or_variance + params.eps);
}

// The channels of four neighbours in memory.
fn channels_at(at: u32) -> Channels {
    if ALIGNED {
        return quad_channels(at % params.columns / 4u);
    }
    var all: Channels;
    for (var lane = 0u; lane < 4u; lane++) {
        let c = (at + lane) % params.columns;
        let quad = quad_channels(c / 4u);
        all.mean[lane] = quad.mean[c % 4u];
        all.invstd[lane] = quad.invstd[c % 4u];
        all.weight[lane] = quad.weight[c % 4u];
        all.bias[lane] = quad.bias[c % 4u];
    }
    return all;
}

// What the epilogue is applied to, but for the residual: the same bits in both passes.
fn affine(x: vec4<f32>, channels: Channels) -> vec4<f32> {
    return fma((x - channels.mean) * channels.invstd, channels.weight, channels.bias);
}

// Sums down a slab: of deviations from the pivot, with what rounding has left of it (Kahan), and of squared deviations
// from the mean.
struct Sums {
    count: f32,
    sum: vec4<f32>,
    lost: vec4<f32>,
    squares: vec4<f32>,
}

// The same with some more rows, by Chan's formula.
fn merge(sums: Sums, count: f32, sum: vec4<f32>, squares: vec4<f32>) -> Sums {
    var merged = sums;
    merged.count = sums.count + count;
    let added = sum - sums.lost;
    merged.sum = sums.sum + added;
    merged.lost = (merged.sum - sums.sum) - added;
    merged.squares = sums.squares + squares;
    if sums.count > 0.0 {
        let apart = sum / count - sums.sum / sums.count;
        merged.squares += apart * apart * (sums.count * count / merged.count);
    }
    return merged;
}

// One pass over memory: rows come by fours, whose squared deviations are taken from their own mean. Deviations are from
// the slab's first row, so that a mean that is large beside the deviation costs no digits.
@compute @workgroup_size(WORKGROUP_SIZE)
fn partial_statistics(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.slabs * quads() {
        return;
    }
    let quad = i % quads();
    let slab = i / quads();
    let rows = slab_rows(slab);
    let pivot = input_at(rows.x * params.columns + 4u * quad);
    var sums = Sums(0.0, vec4<f32>(0.0), vec4<f32>(0.0), vec4<f32>(0.0));
    var row = rows.x;
    while row + 4u <= rows.y {
        let at = row * params.columns + 4u * quad;
        let a = input_at(at) - pivot;
        let b = input_at(at + params.columns) - pivot;
        let c = input_at(at + 2u * params.columns) - pivot;
        let d = input_at(at + 3u * params.columns) - pivot;
        let sum = (a + b) + (c + d);
        let middle = sum * 0.25;
        let squares = (a - middle) * (a - middle) + (b - middle) * (b - middle)
            + ((c - middle) * (c - middle) + (d - middle) * (d - middle));
        sums = merge(sums, 4.0, sum, squares);
        row += 4u;
    }
    while row < rows.y {
        sums = merge(sums, 1.0, input_at(row * params.columns + 4u * quad) - pivot, vec4<f32>(0.0));
        row++;
    }
    let slab_mean = pivot + (sums.sum - sums.lost) / sums.count;
    new_partials[2u * slab * quads() + quad] = slab_mean;
    new_partials[(2u * slab + 1u) * quads() + quad] = sums.squares;
}

// Slabs of n_i rows with mean m_i and squares s_i: mean = sum n_i m_i / n, squares = sum s_i + n_i (m_i - mean)^2
@compute @workgroup_size(WORKGROUP_SIZE)
fn finish_statistics(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quad = flat_group(group, groups);
    if quad >= quads() {
        return;
    }
    let pivot = partials[quad];
    var sum = vec4<f32>(0.0);
    for (var slab = local; slab < params.slabs; slab += WORKGROUP_SIZE) {
        let rows = slab_rows(slab);
        sum += f32(rows.y - rows.x) * (partials[2u * slab * quads() + quad] - pivot);
    }
    let whole_mean = pivot + workgroup_sum4(local, sum) / f32(params.rows);
    var rest = vec4<f32>(0.0);
    var squares = vec4<f32>(0.0);
    for (var slab = local; slab < params.slabs; slab += WORKGROUP_SIZE) {
        let rows = slab_rows(slab);
        let deviation = partials[2u * slab * quads() + quad] - whole_mean;
        let weighted = f32(rows.y - rows.x) * deviation;
        rest += weighted;
        squares += partials[(2u * slab + 1u) * quads() + quad] + weighted * deviation;
    }
    let whole_rest = workgroup_sum4(local, rest);
    let whole_squares = workgroup_sum4(local, squares);
    if local == 0u {
        // Statistics lie in pages, whose padding is zero.
        let zero = vec4<f32>(0.0);
        let mask = existing(quad);
        new_mean[quad] = select(zero, whole_mean + whole_rest / f32(params.rows), mask);
        new_invstd[quad] = 1.0 / sqrt(whole_squares / f32(params.rows) + params.eps);
        var_unbiased[quad] = select(zero, whole_squares / f32(params.rows - 1u), mask);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn normalize(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = 4u * flat_index(group, groups, local);
    let count = params.rows * params.columns;
    if at >= count {
        return;
    }
    var value = affine(unpack(input[at / 4u]), channels_at(at));
    if params.has_residual != 0u {
        value += unpack(residual[at / 4u]);
    }
    store4(at, epilogue(value), count - at);
}

// partial[slab] = sums over the slab's rows of dz, and of dz (x - mean)
@compute @workgroup_size(WORKGROUP_SIZE)
fn partial_gradients(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.slabs * quads() {
        return;
    }
    let quad = i % quads();
    let slab = i / quads();
    let rows = slab_rows(slab);
    let channels = quad_channels(quad);
    var sum = vec4<f32>(0.0);
    var products = vec4<f32>(0.0);
    for (var row = rows.x; row < rows.y; row++) {
        let at = row * params.columns + 4u * quad;
        let x = input_at(at);
        let dz = grad_at(at) * epilogue_slope(affine(x, channels));
        sum += dz;
        products = fma(dz, x - channels.mean, products);
    }
    new_partials[2u * slab * quads() + quad] = sum;
    new_partials[(2u * slab + 1u) * quads() + quad] = products;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn finish_gradients(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quad = flat_group(group, groups);
    if quad >= quads() {
        return;
    }
    var sum = vec4<f32>(0.0);
    var products = vec4<f32>(0.0);
    for (var slab = local; slab < params.slabs; slab += WORKGROUP_SIZE) {
        sum += partials[2u * slab * quads() + quad];
        products += partials[(2u * slab + 1u) * quads() + quad];
    }
    let whole_sum = workgroup_sum4(local, sum);
    let whole_products = workgroup_sum4(local, products);
    if local == 0u {
        let zero = vec4<f32>(0.0);
        let invstd = invstd_of(spread[quad]);
        // Gradients lie in pages, whose padding is zero.
        let mask = existing(quad);
        new_grad_bias[quad] = select(zero, whole_sum, mask);
        new_grad_weight[quad] = select(zero, whole_products * invstd, mask);
        new_means[quad] = whole_sum / f32(params.rows);
        new_means[quads() + quad] = whole_products * invstd * invstd / f32(params.rows);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = 4u * flat_index(group, groups, local);
    let count = params.rows * params.columns;
    if at >= count {
        return;
    }
    let channels = channels_at(at);
    let x = unpack(input[at / 4u]);
    var value = unpack(grad_output[at / 4u]) * epilogue_slope(affine(x, channels));
    if params.training != 0u {
        value -= fma(x - channels.mean, means_at(quads(), at), means_at(0u, at));
    }
    store4(at, value * (channels.weight * channels.invstd), count - at);
}

// The means, from `base` on, of the channels of four neighbours in memory.
fn means_at(base: u32, at: u32) -> vec4<f32> {
    if ALIGNED {
        return means[base + at % params.columns / 4u];
    }
    var all: vec4<f32>;
    for (var lane = 0u; lane < 4u; lane++) {
        let c = (at + lane) % params.columns;
        all[lane] = means[base + c / 4u][c % 4u];
    }
    return all;
}
