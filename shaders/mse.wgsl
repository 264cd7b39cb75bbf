// mse: (x - t)^2

fn loss(x: f32, t: f32, w: f32) -> f32 {
    return (x - t) * (x - t);
}

fn derivative(x: f32, t: f32, w: f32) -> f32 {
    return 2.0 * (x - t);
}

fn target_derivative(x: f32, t: f32, w: f32) -> f32 {
    return 2.0 * (t - x);
}
