// leaky_relu: y = x where x > 0, else alpha x; alpha is negative_slope.

fn activation(x: f32) -> f32 {
    return select(params.alpha * x, x, x > 0.0);
}

fn derivative(x: f32) -> f32 {
    return select(params.alpha, 1.0, x > 0.0);
}
