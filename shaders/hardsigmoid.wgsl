// hardsigmoid: y = clamp(x + 3, 0, 6) / 6; the clamp is made of comparisons, so that a NaN passes.

fn activation(x: f32) -> f32 {
    let shifted = x + 3.0;
    return select(select(shifted, 0.0, shifted < 0.0), 6.0, shifted > 6.0) / 6.0;
}

fn derivative(x: f32) -> f32 {
    return select(0.0, 1.0 / 6.0, x > -3.0 && x < 3.0);
}
