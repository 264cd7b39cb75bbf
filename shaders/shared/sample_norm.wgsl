
// Appended to layer_norm, layer_norm2d, group_norm and instance_norm, whose files say which element of weight and bias
// belongs to an element (parameter_index). They normalise over sets of elements of one sample: in memory a sample is
// pixels x channels, and a set is all pixels of channels / groups neighbouring channels.
//
//   forward             one workgroup per set: mean, invstd, y = (x - mean) invstd weight + bias
//   grad_input          one workgroup per set: g = dy weight, dx = invstd (g - mean(g) - xhat mean(g xhat))
//   partial_parameters  sums of dy xhat and dy over each slab of rows, in a matrix with a column for each parameter
//   finish_parameters   the sums over all slabs, one workgroup per parameter

struct Params {
    sets: u32,
    set_len: u32,
    pixels: u32, channels: u32, groups: u32,
    eps: f32,
    has_weight: u32, has_bias: u32,
    rows: u32, columns: u32,
    slabs: u32, slab_len: u32,
    rows_per_sample: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Packed>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> mean: array<f32>; // [sample][group]
@group(0) @binding(5) var<storage, read> invstd: array<f32>;
@group(0) @binding(6) var<storage, read> grad_output: array<Packed>;
@group(0) @binding(7) var<storage, read> partials: array<vec2<f32>>; // [slab][column]
@group(0) @binding(9) var<storage, read_write> new_mean: array<f32>;
@group(0) @binding(10) var<storage, read_write> new_invstd: array<f32>;
@group(0) @binding(11) var<storage, read_write> new_partials: array<vec2<f32>>;
@group(0) @binding(12) var<storage, read_write> grad_weight: array<f32>;
@group(0) @binding(13) var<storage, read_write> grad_bias: array<f32>;

// What an invocation steps over at once.
const STRIDE: u32 = WORKGROUP_SIZE * PACK;

struct Elements {
    at: u32,
    channel: u32,
    pixel: u32,
}

// The PACK elements of a set from its j-th on: neighbouring channels of a pixel.
fn elements(set_index: u32, j: u32) -> Elements {
    let width = params.channels / params.groups;
    let pixel = j / width;
    let channel = set_index % params.groups * width + j % width;
    let sample = set_index / params.groups;
    return Elements((sample * params.pixels + pixel) * params.channels + channel, channel, pixel);
}

fn inputs(here: Elements) -> vec4<f32> {
    return unpack(input[here.at / PACK]);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let set_index = flat_group(group, groups);
    if set_index >= params.sets {
        return;
    }
    let pivot = inputs(elements(set_index, 0u)).x;
    var sum = vec4<f32>(0.0);
    for (var j = local * PACK; j < params.set_len; j += STRIDE) {
        sum += inputs(elements(set_index, j)) - pivot;
    }
    let near_mean = pivot + workgroup_sum(local, sum_lanes(sum)) / f32(params.set_len);
    var rest = vec4<f32>(0.0);
    var squares = vec4<f32>(0.0);
    for (var j = local * PACK; j < params.set_len; j += STRIDE) {
        let deviation = inputs(elements(set_index, j)) - near_mean;
        rest += deviation;
        squares += deviation * deviation;
    }
    let set_mean = near_mean + workgroup_sum(local, sum_lanes(rest)) / f32(params.set_len);
    let variance = workgroup_sum(local, sum_lanes(squares)) / f32(params.set_len);
    let set_invstd = 1.0 / sqrt(variance + params.eps);
    if local == 0u {
        new_mean[set_index] = set_mean;
        new_invstd[set_index] = set_invstd;
    }
    for (var j = local * PACK; j < params.set_len; j += STRIDE) {
        let here = elements(set_index, j);
        var values = (inputs(here) - set_mean) * set_invstd * weights(here);
        if params.has_bias != 0u {
            for (var i = 0u; i < PACK; i++) {
                values[i] += bias[parameter_index(here.channel + i, here.pixel)];
            }
        }
        store4(here.at, values, PACK);
    }
}

fn weights(here: Elements) -> vec4<f32> {
    var values = vec4<f32>(1.0);
    if params.has_weight != 0u {
        for (var i = 0u; i < PACK; i++) {
            values[i] = weight[parameter_index(here.channel + i, here.pixel)];
        }
    }
    return values;
}

// dy weight
fn weighted_grads(here: Elements) -> vec4<f32> {
    return unpack(grad_output[here.at / PACK]) * weights(here);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let set_index = flat_group(group, groups);
    if set_index >= params.sets {
        return;
    }
    let set_mean = mean[set_index];
    let set_invstd = invstd[set_index];
    var sum = vec4<f32>(0.0);
    var products = vec4<f32>(0.0);
    for (var j = local * PACK; j < params.set_len; j += STRIDE) {
        let here = elements(set_index, j);
        let grads = weighted_grads(here);
        sum += grads;
        products += grads * ((inputs(here) - set_mean) * set_invstd);
    }
    let offset = workgroup_sum(local, sum_lanes(sum)) / f32(params.set_len);
    let slope = workgroup_sum(local, sum_lanes(products)) / f32(params.set_len);
    for (var j = local * PACK; j < params.set_len; j += STRIDE) {
        let here = elements(set_index, j);
        let normalized = (inputs(here) - set_mean) * set_invstd;
        store4(here.at, set_invstd * (weighted_grads(here) - offset - normalized * slope), PACK);
    }
}

// A row is a sample or a pixel of one, as the parameters are for each element or for each channel.
@compute @workgroup_size(WORKGROUP_SIZE)
fn partial_parameters(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.slabs * params.columns {
        return;
    }
    let column = i % params.columns;
    let first = i / params.columns * params.slab_len;
    let last = min(first + params.slab_len, params.rows);
    let own_group = column % params.channels / (params.channels / params.groups);
    var sum = vec2<f32>(0.0);
    for (var row = first; row < last; row++) {
        let at = row * params.columns + column;
        let set_index = row / params.rows_per_sample * params.groups + own_group;
        let grad = unpack(grad_output[at / PACK])[at % PACK];
        let x = unpack(input[at / PACK])[at % PACK];
        sum += grad * vec2<f32>((x - mean[set_index]) * invstd[set_index], 1.0);
    }
    new_partials[i] = sum;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn finish_parameters(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let column = flat_group(group, groups);
    if column >= params.columns {
        return;
    }
    var sum = vec2<f32>(0.0);
    for (var slab = local; slab < params.slabs; slab += WORKGROUP_SIZE) {
        sum += partials[slab * params.columns + column];
    }
    let total = vec2<f32>(workgroup_sum(local, sum.x), workgroup_sum(local, sum.y));
    if local == 0u {
        let parameter = parameter_index(column % params.channels, column / params.channels);
        grad_weight[parameter] = total.x;
        grad_bias[parameter] = total.y;
    }
}
