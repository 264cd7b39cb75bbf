// relu6: y = x clamped to 0..6; the clamp is made of comparisons, so that a NaN passes.

fn activation(x: f32) -> f32 {
    return select(select(x, 6.0, x >= 6.0), 0.0, x <= 0.0);
}

fn derivative(x: f32) -> f32 {
    return select(1.0, 0.0, x <= 0.0 || x >= 6.0);
}
