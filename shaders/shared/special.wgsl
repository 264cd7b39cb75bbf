
// Functions that WGSL lacks, or that it lets drivers compute too coarsely: polynomials fitted to an error of about an
// ulp, and one exponential that is only asked for what cannot overflow. A NaN passes through all of them. The errors
// given were measured on lavapipe, at 200,000 points in -30..30; its exp adds to them (1e-7 near 0, 2e-6 at -29).

// exp(x) for x <= 0, exactly 0 below the smallest normal number: some drivers clamp there, and -inf * 0 is to be NaN.
fn exp_negative(x: f32) -> f32 {
    return select(select(exp(x), 0.0, x < -87.3), x, is_nan(x));
}

// 1 / (1 + exp(-x))
fn sigmoid(x: f32) -> f32 {
    let e = exp_negative(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

// 1 - sigmoid(x), without cancellation
fn sigmoid_complement(x: f32) -> f32 {
    let e = exp_negative(-abs(x));
    return select(1.0, e, x >= 0.0) / (1.0 + e);
}

// exp(x) - 1 for x <= 0; relative error below 3e-7.
fn expm1_negative(x: f32) -> f32 {
    var p = 0.00112592208;
    p = fma(p, x, 0.00819329452);
    p = fma(p, x, 0.0416320488);
    p = fma(p, x, 0.166662887);
    p = fma(p, x, 0.499999851);
    return select(fma(p, x * x, x), exp_negative(x) - 1.0, x < -0.5);
}

// log(1 + x) for x in 0..1, as 2 atanh(x / (2 + x)); relative error below 2e-7 by itself.
fn log1p_unit(x: f32) -> f32 {
    let s = x / (2.0 + x);
    let z = s * s;
    var p = 0.280244648;
    p = fma(p, z, 0.279991388);
    p = fma(p, z, 0.400216997);
    p = fma(p, z, 0.666664124);
    return fma(p * z, s, 2.0 * s);
}

// tanh(x); relative error below 3e-7, near 0 too.
fn accurate_tanh(x: f32) -> f32 {
    let z = x * x;
    var p = 0.0164587442;
    p = fma(p, z, -0.0526841357);
    p = fma(p, z, 0.133209422);
    p = fma(p, z, -0.333329588);
    let e = exp_negative(-2.0 * abs(x));
    let far = (1.0 - e) / (1.0 + e);
    return select(fma(p * z, x, x), select(far, -far, x < 0.0), abs(x) > 0.55);
}

// 1 - tanh(x)^2, without cancellation
fn sech_squared(x: f32) -> f32 {
    let e = exp_negative(-2.0 * abs(x));
    return 4.0 * e / ((1.0 + e) * (1.0 + e));
}

// The error function; absolute error below 1e-7 by itself, and GELU by it as accurate as by libm's.
fn erf(x: f32) -> f32 {
    let z = x * x;
    var p = -0.000594314246;
    p = fma(p, z, 0.00498437881);
    p = fma(p, z, -0.0267611071);
    p = fma(p, z, 0.112816818);
    p = fma(p, z, -0.376124829);
    p = fma(p, z, 0.128379151);
    // log(1 - erf(t)) / t; from t = 4 on, erf is 1 in f32.
    let t = select(abs(x), 4.0, abs(x) > 4.0);
    var q = 0.00021291626;
    q = fma(q, t, -0.00320618902);
    q = fma(q, t, 0.0228620023);
    q = fma(q, t, -0.105218478);
    q = fma(q, t, -0.635751009);
    q = fma(q, t, -1.12850475);
    let far = 1.0 - exp_negative(q * t);
    return select(fma(p, x, x), select(far, -far, x < 0.0), abs(x) > 0.9375);
}
