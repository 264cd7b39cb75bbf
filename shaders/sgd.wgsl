// torch.optim.SGD over one page of parameters: g = factor grad + decay w; m = momentum m + share g;
// w -= rate (g + momentum m) with Nesterov, rate m without, rate g without momentum.

struct Params {
    count: u32,
    parts: u32,
    scales_loss: u32,
    momentum: f32,
    nesterov: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(7) var<storage, read_write> momentum_buffer: array<vec4<f32>>;

fn advance(i: u32, settled: Settled) {
    let settings = groups[i / 16u];
    let w = parameters[i];
    let g = gradient(i, settled) + settings.y * w;
    let m = params.momentum * momentum_buffer[i] + step.optimizer.x * g;
    momentum_buffer[i] = m;
    var direction = g;
    if params.momentum != 0.0 {
        direction = m;
        if params.nesterov != 0u {
            direction = g + params.momentum * m;
        }
    }
    parameters[i] = w - step.learning_rate * settings.x * direction;
}
