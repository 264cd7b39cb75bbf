// silu: y = x sigmoid(x).

fn activation(x: f32) -> f32 {
    return x * sigmoid(x);
}

fn derivative(x: f32) -> f32 {
    return sigmoid(x) * (1.0 + x * sigmoid_complement(x));
}
