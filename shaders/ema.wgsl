// ema: the running average of weights or of running statistics, over one page, unless the step is skipped:
// average = lerp(average, values, share), as torch.lerp does it.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> values: array<f32>;
@group(0) @binding(3) var<storage, read> control: array<f32>;
@group(0) @binding(4) var<storage, read_write> average: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn update(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i < params.count && control[7] == 0.0 {
        let value = values[i];
        let change = value - average[i];
        average[i] = select(value - change * (1.0 - step.ema_share), average[i] + step.ema_share * change, step.ema_share < 0.5);
    }
}
