// grad_norm: sums of squares over all gradients, in parts whose number is bounded, so that the optimizer's workgroups can
// add them up themselves (shared/update.wgsl). Before the parts stand words that those need too.

struct Params {
    count: u32,
    base: u32, // where this page's parts begin
    part_len: u32, // elements of a part, a multiple of 4
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> loss: array<f32>;
@group(0) @binding(3) var<storage, read> correct: array<f32>;
@group(0) @binding(4) var<storage, read> control: array<f32>;
@group(0) @binding(5) var<storage, read_write> partials: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn partial(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let part = flat_group(group, groups);
    let last = min((part + 1u) * params.part_len, params.count) / 4u;
    var sums = vec4<f32>(0.0);
    for (var i = part * params.part_len / 4u + local; i < last; i += WORKGROUP_SIZE) {
        sums = fma(gradients[i], gradients[i], sums);
    }
    let total = workgroup_sum(local, (sums.x + sums.y) + (sums.z + sums.w));
    if local == 0u && part * params.part_len < params.count {
        partials[params.base + part] = total;
    }
    if local == 0u && part == 0u {
        partials[0] = control[0]; // halted before this step
        partials[1] = loss[0];
        partials[2] = correct[0];
        partials[3] = control[5]; // the loss scale of this step
    }
}
