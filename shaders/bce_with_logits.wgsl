// bce_with_logits: w t softplus(-x) + (1 - t) softplus(x)

fn loss(x: f32, t: f32, w: f32) -> f32 {
    return w * t * softplus(-x) + (1.0 - t) * softplus(x);
}

fn derivative(x: f32, t: f32, w: f32) -> f32 {
    return (1.0 - t) * sigmoid(x) - w * t * sigmoid(-x);
}

fn target_derivative(x: f32, t: f32, w: f32) -> f32 {
    return w * softplus(-x) - softplus(x);
}

// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))
fn softplus(x: f32) -> f32 {
    return select(0.0, x, x > 0.0) + log1p_unit(exp_negative(-abs(x)));
}
