// elu: y = x where x > 0, else alpha (exp(x) - 1).

fn activation(x: f32) -> f32 {
    return select(x, params.alpha * expm1_negative(x), x <= 0.0);
}

fn derivative(x: f32) -> f32 {
    return select(1.0, params.alpha * exp_negative(x), x <= 0.0);
}
