
// Appended to the optimizers, whose files define Params with `count`, `parts`, `scales_loss` and the entry point `update`: bindings
// that all have, and what every workgroup finds out by itself before it updates, always in the same order: the norm of
// all gradients, the factor for clipping to step.clip_norm, and whether to halt, or to leave out the step because scaled
// gradients overflowed in f16.
// control (plan::Control): 0 halted, 1 clip factor, 2 loss, 3 correct, 4 norm, 5 loss scale, 6 good steps, 7 skipped.

const HEADER: u32 = 4u; // plan::update::HEADER: words before the parts

@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> groups: array<vec2<f32>>; // rate factor and decay for each 64 elements
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

// Once a loss or norm is not finite, control[0] stays 1 and every update from this step on is left out. All invocations
// must call this; the first workgroup writes the control words.
fn settle(group: u32, local: u32) -> Settled {
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
    if group == 0u && local == 0u {
        control[0] = select(0.0, 1.0, halted);
        control[1] = clip;
        control[2] = loss;
        control[3] = partials[2];
        control[4] = norm;
        if scales && !halted {
            next_scale(overflow);
        }
        control[7] = select(0.0, 1.0, skipped);
    }
    return Settled(skipped, clip / scale);
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
