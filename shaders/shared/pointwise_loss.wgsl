
// Appended to mse, bce_with_logits and smooth_l1, whose files define loss(x, t, w), derivative(x, t, w) = dl/dx and
// target_derivative(x, t, w) = dl/dt: bindings and entry points of the mean or sum of a function of input and target.
// The weight belongs to columns of the last logical dimension, which in channels-last images are column_stride apart.

struct Params {
    count: u32,
    group_len: u32,
    divisor: f32,
    beta: f32,
    has_weight: u32,
    column_stride: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> grad_output: array<f32>;
@group(0) @binding(5) var<storage, read> partials: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<f32>;

fn weight_of(i: u32) -> f32 {
    if params.has_weight != 0u {
        return weight[i / params.column_stride % params.columns];
    }
    return 1.0;
}

// partials[workgroup] = sum over the workgroup's elements
@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let part = flat_group(group, groups);
    let first = part * params.group_len;
    let last = min(first + params.group_len, params.count);
    var sum = 0.0;
    for (var i = first + local; i < last; i += WORKGROUP_SIZE) {
        sum += loss(input[i], targets[i], weight_of(i));
    }
    let total = workgroup_sum(local, sum);
    if local == 0u && first < params.count {
        output[part] = total;
    }
}

// output = sum of partials / divisor; count is that of the partials
@compute @workgroup_size(WORKGROUP_SIZE)
fn finish(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var i = local; i < params.count; i += WORKGROUP_SIZE) {
        sum += partials[i];
    }
    let total = workgroup_sum(local, sum);
    if local == 0u {
        output[0] = total / params.divisor;
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i < params.count {
        output[i] = grad_output[0] / params.divisor * derivative(input[i], targets[i], weight_of(i));
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_target(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i < params.count {
        output[i] = grad_output[0] / params.divisor * target_derivative(input[i], targets[i], weight_of(i));
    }
}
