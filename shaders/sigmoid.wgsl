// sigmoid: y = 1 / (1 + exp(-x)).

fn activation(x: f32) -> f32 {
    return sigmoid(x);
}

fn derivative(x: f32) -> f32 {
    return sigmoid(x) * sigmoid_complement(x);
}
