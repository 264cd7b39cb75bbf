// softplus: y = log(1 + exp(alpha x)) / alpha, and y = x where alpha x > beta; alpha is PyTorch's beta, beta its
// threshold. It is computed as max(z, 0) + log(1 + exp(-|z|)), which cannot overflow.

fn activation(x: f32) -> f32 {
    let z = params.alpha * x;
    let soft = (select(0.0, z, z > 0.0) + log1p_unit(exp_negative(-abs(z)))) / params.alpha;
    return select(soft, x, z > params.beta);
}

fn derivative(x: f32) -> f32 {
    let z = params.alpha * x;
    return select(sigmoid(z), 1.0, z > params.beta);
}
