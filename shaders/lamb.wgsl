// LAMB over one page of parameters, in two passes: `prepare` leaves Adam's step, with L2 decay, in the place of the
// gradients, where tensors of groups with decay are scaled by their trust ratio (scale_by_norm); then `update`:
// w -= rate d. step.optimizer.xy are the bias corrections of m and of sqrt(v).

struct Params {
    count: u32,
    parts: u32,
    scales_loss: u32,
    beta1: f32,
    beta2: f32,
    rest1: f32, // 1 - beta1, rounded once
    rest2: f32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(7) var<storage, read_write> exp_avg: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> exp_avg_sq: array<vec4<f32>>;

fn direct(i: u32, settled: Settled) {
    let g = gradient(i, settled);
    let m = params.beta1 * exp_avg[i] + params.rest1 * g;
    let v = params.beta2 * exp_avg_sq[i] + params.rest2 * g * g;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    let adam = (m * step.optimizer.x) / (sqrt(v) * step.optimizer.y + params.eps);
    gradients[i] = adam + groups[i / 16u].y * parameters[i];
}

fn advance(i: u32, settled: Settled) {
    parameters[i] -= step.learning_rate * groups[i / 16u].x * gradients[i];
}
