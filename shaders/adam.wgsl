// torch.optim.Adam and AdamW over one page of parameters: m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
// w -= rate m^ / (sqrt(v^) + eps), where step.optimizer.xy are the bias corrections of m and of sqrt(v).

struct Params {
    count: u32,
    parts: u32,
    scales_loss: u32,
    beta1: f32,
    beta2: f32,
    rest1: f32, // 1 - beta1, rounded once
    rest2: f32,
    eps: f32,
    decoupled: u32, // AdamW: the weight decays by itself, not through the gradient
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(7) var<storage, read_write> exp_avg: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> exp_avg_sq: array<vec4<f32>>;

fn advance(i: u32, settled: Settled) {
    let settings = groups[i / 16u];
    let rate = step.learning_rate * settings.x;
    var w = parameters[i];
    var g = gradient(i, settled);
    if params.decoupled != 0u {
        w *= 1.0 - rate * settings.y;
    } else {
        g += settings.y * w;
    }
    let m = params.beta1 * exp_avg[i] + params.rest1 * g;
    let v = params.beta2 * exp_avg_sq[i] + params.rest2 * g * g;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    parameters[i] = w - rate * (m * step.optimizer.x) / (sqrt(v) * step.optimizer.y + params.eps);
}
