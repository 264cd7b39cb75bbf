
// The activation that a kernel applies to its result, chosen by the constant EPILOGUE (ops::Epilogue): 0 none, 1 relu,
// 2 leaky_relu with the slope EPILOGUE_ARGUMENT, 3 relu6, 4 silu, 5 hardswish. Comparisons let a NaN pass. Needs SPECIAL.

fn epilogue(x: vec4<f32>) -> vec4<f32> {
    switch EPILOGUE {
        case 1u: {
            return select(x, vec4<f32>(0.0), x <= vec4<f32>(0.0));
        }
        case 2u: {
            return select(EPILOGUE_ARGUMENT * x, x, x > vec4<f32>(0.0));
        }
        case 3u: {
            let below = select(x, vec4<f32>(6.0), x >= vec4<f32>(6.0));
            return select(below, vec4<f32>(0.0), x <= vec4<f32>(0.0));
        }
        case 4u: {
            return x * vec4<f32>(sigmoid(x.x), sigmoid(x.y), sigmoid(x.z), sigmoid(x.w));
        }
        case 5u: {
            let shifted = x + 3.0;
            let above = select(shifted, vec4<f32>(0.0), shifted < vec4<f32>(0.0));
            return x * select(above, vec4<f32>(6.0), shifted > vec4<f32>(6.0)) / 6.0;
        }
        default: {
            return x;
        }
    }
}

// The derivative of the epilogue at x.
fn epilogue_slope(x: vec4<f32>) -> vec4<f32> {
    switch EPILOGUE {
        case 1u: {
            return select(vec4<f32>(1.0), vec4<f32>(0.0), x <= vec4<f32>(0.0));
        }
        case 2u: {
            return select(vec4<f32>(EPILOGUE_ARGUMENT), vec4<f32>(1.0), x > vec4<f32>(0.0));
        }
        case 3u: {
            let below = select(vec4<f32>(1.0), vec4<f32>(0.0), x >= vec4<f32>(6.0));
            return select(below, vec4<f32>(0.0), x <= vec4<f32>(0.0));
        }
        case 4u: {
            return vec4<f32>(silu_slope(x.x), silu_slope(x.y), silu_slope(x.z), silu_slope(x.w));
        }
        case 5u: {
            let middle = select(vec4<f32>(1.0), x / 3.0 + 0.5, x < vec4<f32>(3.0));
            return select(middle, vec4<f32>(0.0), x <= vec4<f32>(-3.0));
        }
        default: {
            return vec4<f32>(1.0);
        }
    }
}

fn silu_slope(x: f32) -> f32 {
    return sigmoid(x) * (1.0 + x * sigmoid_complement(x));
}
