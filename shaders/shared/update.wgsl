
// Appended to the optimizers, whose files define Params with `count`, `parts`, `scales_loss`, and `advance`, which updates
// four elements: bindings that all have, the entry point, and what every workgroup finds out by itself before it updates,
// always in the same order: the norm of all gradients, the factor for clipping to step.clip_norm, and whether to halt, or to
// leave out the step because scaled gradients overflowed in f16.
// control (plan::Control): 0 halted, 1 clip factor, 2 loss, 3 correct, 4 norm, 5 loss scale, 6 good steps, 7 skipped.

const HEADER: u32 = 4u; // plan::update::HEADER: words before the parts

@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read_write> gradients: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> groups: array<vec4<f32>>; // rate factor, decay, directed for each 64 elements
@group(0) @binding(4) var<storage, read> partials: array<f32>; // of grad_norm
@group(0) @binding(5) var<storage, read_write> parameters: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> control: array<f32>;

// graph::LossScale
const GROWTH_INTERVAL: f32 = 2000.0;
const LARGEST_SCALE: f32 = 16777216.0;
const SMALLEST_SCALE: f32 = 1.0;

struct Settled {
    skipped: bool,
    factor: f32, // on gradients, from clipping and from the loss scale
}

// The gradient to update by: clipped, without the loss scale. NaN passes.
fn gradient(i: u32, settled: Settled) -> vec4<f32> {
    let g = settled.factor * gradients[i];
    return select(g, step.clip_value * sign(g), abs(g) > vec4<f32>(step.clip_value));
}

// What all passes of an update find out. All invocations must call this.
fn judge(local: u32) -> Settled {
    return judged(local).settled;
}

struct Judged {
    settled: Settled,
    halted: bool,
    overflow: bool,
    clip: f32,
    norm: f32,
}

fn judged(local: u32) -> Judged {
    var sum = 0.0;
    for (var i = local; i < params.parts; i += WORKGROUP_SIZE) {
        sum += partials[HEADER + i];
    }
    let scale = partials[3];
    let norm = sqrt(workgroup_sum(local, sum)) / scale;
    let loss = partials[1];
    let scales = params.scales_loss != 0u;
    let overflow = !is_finite(norm) && scales && 0.5 * scale >= SMALLEST_SCALE;
    let halted = partials[0] != 0.0 || !is_finite(loss) || !(is_finite(norm) || overflow);
    let skipped = halted || overflow;
    var clip = 1.0;
    if is_finite(step.clip_norm) && step.clip_norm < norm + 1e-6 {
        clip = step.clip_norm / (norm + 1e-6);
    }
    return Judged(Settled(skipped, clip / scale), halted, overflow, clip, norm);
}

// The last pass. Once a loss or norm is not finite, control[0] stays 1 and every update from this step on is left out. All
// invocations must call this; the first workgroup writes the control words.
fn settle(group: u32, local: u32) -> Settled {
    let found = judged(local);
    if group == 0u && local == 0u {
        control[0] = select(0.0, 1.0, found.halted);
        control[1] = found.clip;
        control[2] = partials[1];
        control[3] = partials[2];
        control[4] = found.norm;
        if params.scales_loss != 0u && !found.halted {
            next_scale(found.overflow);
        }
        control[7] = select(0.0, 1.0, found.settled.skipped);
    }
    return found.settled;
}

// graph::LossScale::after
fn next_scale(overflow: bool) {
    let scale = control[5];
    let good_steps = control[6] + 1.0;
    if overflow {
        control[5] = 0.5 * scale;
        control[6] = 0.0;
    } else if good_steps < GROWTH_INTERVAL {
        control[6] = good_steps;
    } else {
        control[5] = select(2.0 * scale, scale, 2.0 * scale > LARGEST_SCALE);
        control[6] = 0.0;
    }
}

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
        advance(i, settled);
    }
}
