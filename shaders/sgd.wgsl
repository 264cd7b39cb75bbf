// torch.optim.SGD over one page of parameters: g = clip grad + decay w; m = momentum m + share g;
// w -= rate (g + momentum m) with Nesterov, rate m without, rate g without momentum.

struct Params {
    count: u32,
    momentum: f32,
    nesterov: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> gradients: array<f32>;
@group(0) @binding(3) var<storage, read> groups: array<vec2<f32>>; // rate factor and decay for each 64 elements
@group(0) @binding(4) var<storage, read> control: array<f32>;
@group(0) @binding(5) var<storage, read_write> parameters: array<f32>;
@group(0) @binding(6) var<storage, read_write> momentum_buffer: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn update(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) group_count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, group_count, local);
    if i >= params.count || control[0] != 0.0 {
        return;
    }
    let settings = groups[i / 64u];
    let w = parameters[i];
    let g = control[1] * gradients[i] + settings.y * w;
    let m = params.momentum * momentum_buffer[i] + step.optimizer.x * g;
    momentum_buffer[i] = m;
    var direction = g;
    if params.momentum != 0.0 {
        direction = m;
        if params.nesterov != 0u {
            direction = g + params.momentum * m;
        }
    }
    parameters[i] = w - step.learning_rate * settings.x * direction;
}
