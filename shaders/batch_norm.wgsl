// batch_norm of a matrix: rows N H W, columns the channels C; one element per invocation, neighbours along C.
//
//   training    partial_statistics: mean and sum of squared deviations of each slab of rows
//               finish_statistics: mean, invstd and unbiased variance of each channel, one workgroup per channel
//   evaluation  invert_variance: invstd from the running variance
//   both        normalize: y = (x - mean) invstd weight + bias
//   gradients   partial_gradients and finish_gradients: sums of dy and dy xhat, as above
//               grad_input: dx = weight invstd (dy - mean(dy) - xhat mean(dy xhat)), the means only in training

struct Params {
    rows: u32,
    columns: u32,
    slabs: u32,
    slab_len: u32,
    eps: f32,
    affine: u32,
    training: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> invstd: array<f32>;
@group(0) @binding(6) var<storage, read> variance: array<f32>;
@group(0) @binding(7) var<storage, read> grad_output: array<f32>;
@group(0) @binding(8) var<storage, read> partials: array<vec2<f32>>; // [slab][channel]
@group(0) @binding(9) var<storage, read> grad_weight: array<f32>; // sums of dy xhat
@group(0) @binding(10) var<storage, read> grad_bias: array<f32>; // sums of dy
@group(0) @binding(11) var<storage, read_write> output: array<f32>;
@group(0) @binding(12) var<storage, read_write> new_partials: array<vec2<f32>>;
@group(0) @binding(13) var<storage, read_write> new_mean: array<f32>;
@group(0) @binding(14) var<storage, read_write> new_invstd: array<f32>;
@group(0) @binding(15) var<storage, read_write> var_unbiased: array<f32>;
@group(0) @binding(16) var<storage, read_write> new_grad_weight: array<f32>;
@group(0) @binding(17) var<storage, read_write> new_grad_bias: array<f32>;

// First row of a slab and the row after its last.
fn slab_rows(slab: u32) -> vec2<u32> {
    let first = slab * params.slab_len;
    return vec2<u32>(first, min(first + params.slab_len, params.rows));
}

// Deviations are taken from the slab's first row and then from its mean, so that a mean that is large beside the
// deviation costs no digits; what rounding has left of them corrects the mean.
@compute @workgroup_size(WORKGROUP_SIZE)
fn partial_statistics(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.slabs * params.columns {
        return;
    }
    let channel = i % params.columns;
    let rows = slab_rows(i / params.columns);
    let pivot = input[rows.x * params.columns + channel];
    var sum = 0.0;
    for (var row = rows.x; row < rows.y; row++) {
        sum += input[row * params.columns + channel] - pivot;
    }
    let slab_mean = pivot + sum / f32(rows.y - rows.x);
    var rest = 0.0;
    var squares = 0.0;
    for (var row = rows.x; row < rows.y; row++) {
        let deviation = input[row * params.columns + channel] - slab_mean;
        rest += deviation;
        squares += deviation * deviation;
    }
    new_partials[i] = vec2<f32>(slab_mean + rest / f32(rows.y - rows.x), squares);
}

// Slabs of n_i rows with mean m_i and squares s_i: mean = sum n_i m_i / n, squares = sum s_i + n_i (m_i - mean)^2
@compute @workgroup_size(WORKGROUP_SIZE)
fn finish_statistics(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channel = flat_group(group, groups);
    if channel >= params.columns {
        return;
    }
    let pivot = partials[channel].x;
    var sum = 0.0;
    for (var slab = local; slab < params.slabs; slab += WORKGROUP_SIZE) {
        let rows = slab_rows(slab);
        sum += f32(rows.y - rows.x) * (partials[slab * params.columns + channel].x - pivot);
    }
    let whole_mean = pivot + workgroup_sum(local, sum) / f32(params.rows);
    var rest = 0.0;
    var squares = 0.0;
    for (var slab = local; slab < params.slabs; slab += WORKGROUP_SIZE) {
        let rows = slab_rows(slab);
        let partial = partials[slab * params.columns + channel];
        let deviation = partial.x - whole_mean;
        let weighted = f32(rows.y - rows.x) * deviation;
        rest += weighted;
        squares += partial.y + weighted * deviation;
    }
    let whole_rest = workgroup_sum(local, rest);
    let whole_squares = workgroup_sum(local, squares);
    if local == 0u {
        new_mean[channel] = whole_mean + whole_rest / f32(params.rows);
        new_invstd[channel] = 1.0 / sqrt(whole_squares / f32(params.rows) + params.eps);
        var_unbiased[channel] = whole_squares / f32(params.rows - 1u);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn invert_variance(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channel = flat_index(group, groups, local);
    if channel < params.columns {
        new_invstd[channel] = 1.0 / sqrt(variance[channel] + params.eps);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn normalize(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.rows * params.columns {
        return;
    }
    let channel = i % params.columns;
    var value = (input[i] - mean[channel]) * invstd[channel];
    if params.affine != 0u {
        value = value * weight[channel] + bias[channel];
    }
    output[i] = value;
}

// partial[slab][channel] = sums over the slab's rows of dy and of dy xhat
@compute @workgroup_size(WORKGROUP_SIZE)
fn partial_gradients(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.slabs * params.columns {
        return;
    }
    let channel = i % params.columns;
    let rows = slab_rows(i / params.columns);
    let center = mean[channel];
    var sum = vec2<f32>(0.0);
    for (var row = rows.x; row < rows.y; row++) {
        let at = row * params.columns + channel;
        sum += grad_output[at] * vec2<f32>(1.0, input[at] - center);
    }
    new_partials[i] = sum * vec2<f32>(1.0, invstd[channel]);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn finish_gradients(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channel = flat_group(group, groups);
    if channel >= params.columns {
        return;
    }
    var sum = vec2<f32>(0.0);
    for (var slab = local; slab < params.slabs; slab += WORKGROUP_SIZE) {
        sum += partials[slab * params.columns + channel];
    }
    let total = vec2<f32>(workgroup_sum(local, sum.x), workgroup_sum(local, sum.y));
    if local == 0u {
        new_grad_bias[channel] = total.x;
        new_grad_weight[channel] = total.y;
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.rows * params.columns {
        return;
    }
    let channel = i % params.columns;
    var value = grad_output[i];
    if params.training != 0u {
        let normalized = (input[i] - mean[channel]) * invstd[channel];
        value -= (grad_bias[channel] + normalized * grad_weight[channel]) / f32(params.rows);
    }
    value *= invstd[channel];
    if params.affine != 0u {
        value *= weight[channel];
    }
    output[i] = value;
}
