// torch.optim.RMSprop over one page of parameters: v = alpha v + (1 - alpha) g^2; d = g / (sqrt(v) + eps), or
// g / (sqrt(v - m^2) + eps) with the gradient's average m if centered; b = momentum b + d; w -= rate b.

struct Params {
    count: u32,
    parts: u32,
    scales_loss: u32,
    alpha: f32,
    rest: f32, // 1 - alpha, rounded once
    eps: f32,
    momentum: f32,
    centered: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(7) var<storage, read_write> square_avg: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> grad_avg: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> momentum_buffer: array<vec4<f32>>;

fn advance(i: u32, settled: Settled) {
    let settings = groups[i / 16u];
    let w = parameters[i];
    let g = gradient(i, settled) + settings.y * w;
    let v = params.alpha * square_avg[i] + params.rest * g * g;
    square_avg[i] = v;
    var variance = v;
    if params.centered != 0u {
        let m = params.alpha * grad_avg[i] + params.rest * g;
        grad_avg[i] = m;
        variance = v - m * m;
        // Rounding can take it below 0; NaN stays.
        variance = select(variance, vec4<f32>(0.0), variance < vec4<f32>(0.0));
    }
    var direction = g / (sqrt(variance) + params.eps);
    if params.momentum != 0.0 {
        direction = params.momentum * momentum_buffer[i] + direction;
        momentum_buffer[i] = direction;
    }
    parameters[i] = w - step.learning_rate * settings.x * direction;
}
