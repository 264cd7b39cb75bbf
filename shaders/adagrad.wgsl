// torch.optim.Adagrad over one page of parameters: s += g^2; w -= rate g / (sqrt(initial + s) + eps), where
// step.optimizer.x is the decay of the rate, 1 / (1 + lr_decay steps).

struct Params {
    count: u32,
    parts: u32,
    scales_loss: u32,
    initial: f32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(7) var<storage, read_write> sum: array<vec4<f32>>;

fn advance(i: u32, settled: Settled) {
    let settings = groups[i / 16u];
    let w = parameters[i];
    let g = gradient(i, settled) + settings.y * w;
    let s = sum[i] + g * g;
    sum[i] = s;
    parameters[i] = w - step.learning_rate * settings.x * step.optimizer.x * g / (sqrt(params.initial + s) + params.eps);
}
