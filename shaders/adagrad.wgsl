// torch.optim.Adagrad over one page of parameters: s += g^2; w -= rate g / (sqrt(s) + eps), where step.optimizer.x is
// the decay of the rate, 1 / (1 + lr_decay steps).

struct Params {
    count: u32,
    parts: u32,
    scales_loss: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(7) var<storage, read_write> sum: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn update(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) group_count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let settled = settle(flat_group(group, group_count), local);
    if settled.skipped {
        return;
    }
    let stride = group_count.x * group_count.y * WORKGROUP_SIZE;
    for (var i = flat_index(group, group_count, local); i < params.count / 4u; i += stride) {
        let settings = groups[i / 16u];
        let w = parameters[i];
        let g = gradient(i, settled) + settings.y * w;
        let s = sum[i] + g * g;
        sum[i] = s;
        parameters[i] = w - step.learning_rate * settings.x * step.optimizer.x * g / (sqrt(s) + params.eps);
    }
}
