// smooth_l1: d^2 / (2 beta) where |d| < beta, else |d| - beta / 2; d = x - t

fn loss(x: f32, t: f32, w: f32) -> f32 {
    let d = abs(x - t);
    if d < params.beta {
        return 0.5 * d * d / params.beta;
    }
    return d - 0.5 * params.beta;
}

fn derivative(x: f32, t: f32, w: f32) -> f32 {
    let d = x - t;
    if d == 0.0 {
        return 0.0; // also with beta = 0
    }
    if d >= params.beta {
        return 1.0;
    }
    if d <= -params.beta {
        return -1.0;
    }
    return d / params.beta;
}

fn target_derivative(x: f32, t: f32, w: f32) -> f32 {
    return derivative(t, x, w);
}
