// Muon over one page of parameters, in two passes. Of the tensors that are taken as matrices (groups.z) `prepare` leaves
// the running gradient in the place of the gradients, where it is made orthogonal by products of matrices; then
// `update`: w = w (1 - rate decay) - rate d. All others are AdamW's, whose average shares the momentum's place.

struct Params {
    count: u32,
    parts: u32,
    scales_loss: u32,
    momentum: f32,
    fresh: f32, // 1 - momentum, rounded once
    nesterov: u32,
    beta1: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(7) var<storage, read_write> momentum_buffer: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> exp_avg_sq: array<vec4<f32>>;

fn direct(i: u32, settled: Settled) {
    if groups[i / 16u].z != 0.0 {
        let g = gradient(i, settled);
        let m = params.momentum * momentum_buffer[i] + params.fresh * g;
        momentum_buffer[i] = m;
        gradients[i] = select(m, params.momentum * m + params.fresh * g, params.nesterov != 0u);
    }
}

fn advance(i: u32, settled: Settled) {
    let settings = groups[i / 16u];
    let rate = step.learning_rate * settings.x;
    let w = parameters[i] * (1.0 - rate * settings.y);
    if settings.z != 0.0 {
        parameters[i] = w - rate * gradients[i];
    } else {
        let g = gradient(i, settled);
        let m = params.beta1 * momentum_buffer[i] + params.rest1 * g;
        let v = params.beta2 * exp_avg_sq[i] + params.rest2 * g * g;
        momentum_buffer[i] = m;
        exp_avg_sq[i] = v;
        parameters[i] = w - rate * (m * step.optimizer.x) / (sqrt(v) * step.optimizer.y + params.eps);
    }
}
