// Lion over one page of parameters: w -= rate (sign(beta1 m + (1 - beta1) g) + decay w); m = beta2 m + (1 - beta2) g.

struct Params {
    count: u32,
    parts: u32,
    scales_loss: u32,
    beta1: f32,
    beta2: f32,
    rest1: f32, // 1 - beta1, rounded once
    rest2: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(7) var<storage, read_write> exp_avg: array<vec4<f32>>;

fn advance(i: u32, settled: Settled) {
    let settings = groups[i / 16u];
    let rate = step.learning_rate * settings.x;
    let g = gradient(i, settled);
    let m = exp_avg[i];
    let direction = sign(params.beta1 * m + params.rest1 * g);
    parameters[i] = parameters[i] * (1.0 - rate * settings.y) - rate * direction;
    exp_avg[i] = params.beta2 * m + params.rest2 * g;
}
