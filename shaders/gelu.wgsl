// gelu: y = x Phi(x), Phi the normal distribution's function; alpha 1 stands for approximate = "tanh", which takes
// Phi(x) = (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3).

const SQRT_HALF: f32 = 0.7071067811865476;
const SQRT_TWO_OVER_PI: f32 = 0.7978845608028654;
const DENSITY_AT_ZERO: f32 = 0.3989422804014327; // 1 / sqrt(2 pi)
const CUBIC: f32 = 0.044715;

fn inner(x: f32) -> f32 {
    return SQRT_TWO_OVER_PI * x * fma(CUBIC, x * x, 1.0);
}

fn activation(x: f32) -> f32 {
    if params.alpha == 1.0 {
        return 0.5 * x * (1.0 + accurate_tanh(inner(x)));
    }
    return 0.5 * x * (1.0 + erf(x * SQRT_HALF));
}

fn derivative(x: f32) -> f32 {
    if params.alpha == 1.0 {
        let u = inner(x);
        let slope = SQRT_TWO_OVER_PI * fma(3.0 * CUBIC, x * x, 1.0);
        return 0.5 * (1.0 + accurate_tanh(u)) + 0.5 * x * sech_squared(u) * slope;
    }
    return 0.5 * (1.0 + erf(x * SQRT_HALF)) + x * DENSITY_AT_ZERO * exp_negative(-0.5 * x * x);
}
