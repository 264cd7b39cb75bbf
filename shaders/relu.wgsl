// relu: y = x where x > 0, else 0; a NaN passes, which max(x, 0.0) would swallow.

fn activation(x: f32) -> f32 {
    return select(x, 0.0, x <= 0.0);
}

fn derivative(x: f32) -> f32 {
    return select(1.0, 0.0, x <= 0.0);
}
