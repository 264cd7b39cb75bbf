// grad_norm: the norm of all gradients, the factor for clipping to step.clip_norm, and the halt flag; all sums in a
// fixed order. control (plan::Control): 0 halted, 1 clip factor, 2 loss, 3 correct, 4 norm.

struct Params {
    count: u32,
    base: u32,
}

const CHUNK: u32 = 4096u; // plan::update::NORM_CHUNK

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> gradients: array<f32>;
@group(0) @binding(3) var<storage, read> sums: array<f32>;
@group(0) @binding(4) var<storage, read> loss: array<f32>;
@group(0) @binding(5) var<storage, read> correct: array<f32>;
@group(0) @binding(6) var<storage, read_write> partials: array<f32>;
@group(0) @binding(7) var<storage, read_write> control: array<f32>;

// partials[base + workgroup] = sum of squares over the workgroup's chunk of a page
@compute @workgroup_size(WORKGROUP_SIZE)
fn partial(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let chunk = flat_group(group, groups);
    let last = min((chunk + 1u) * CHUNK, params.count);
    var sum = 0.0;
    for (var i = chunk * CHUNK + local; i < last; i += WORKGROUP_SIZE) {
        sum += gradients[i] * gradients[i];
    }
    let total = workgroup_sum(local, sum);
    if local == 0u && chunk * CHUNK < params.count {
        partials[params.base + chunk] = total;
    }
}

// Once a loss or norm is not finite, control[0] stays 1 and every update from this step on is left out.
@compute @workgroup_size(WORKGROUP_SIZE)
fn finish(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var i = local; i < params.count; i += WORKGROUP_SIZE) {
        sum += sums[i];
    }
    let total = workgroup_sum(local, sum);
    if local != 0u {
        return;
    }
    let norm = sqrt(total);
    if !(is_finite(loss[0]) && is_finite(norm)) {
        control[0] = 1.0;
    }
    control[1] = 1.0;
    if is_finite(step.clip_norm) && step.clip_norm < norm + 1e-6 {
        control[1] = step.clip_norm / (norm + 1e-6);
    }
    control[2] = loss[0];
    control[3] = correct[0];
    control[4] = norm;
}
