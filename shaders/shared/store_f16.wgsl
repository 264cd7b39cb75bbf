
// The output is f16, four elements in two words, on every device.

@group(0) @binding(63) var<storage, read_write> output: array<Stored>;

alias Stored = vec2<u32>;

// Rounds to the nearest f16, ties to even, beyond 65504 to infinity, as bits; pack2x16float leaves rounding and overflow
// to the driver.
fn half_bits(x: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(x);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    let normal = (magnitude + 0xfffu + ((magnitude >> vec4<u32>(13u)) & vec4<u32>(1u)) - 0x38000000u) >> vec4<u32>(13u);
    // The unit of 0.5 as f32 is that of the subnormals of f16.
    let subnormal = bitcast<vec4<u32>>(bitcast<vec4<f32>>(magnitude) + 0.5) - 0x3f000000u;
    var half = select(normal, subnormal, magnitude < vec4<u32>(0x38800000u));
    half = select(half, vec4<u32>(0x7c00u), magnitude >= vec4<u32>(0x477ff000u));
    half = select(half, vec4<u32>(0x7e00u), magnitude > vec4<u32>(0x7f800000u));
    return half | ((bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u));
}

fn pack(values: vec4<f32>) -> Stored {
    return pack_half_bits(half_bits(values));
}

fn pack_half_bits(half: vec4<u32>) -> Stored {
    return vec2<u32>(half.x | (half.y << 16u), half.z | (half.w << 16u));
}

// Writes four elements, beginning at element `at`, a multiple of four, of which those from `count` on become zeros: they
// may be padding in a page, whose norm is taken as a whole. None is written if `count` is 0.
fn store4(at: u32, values: vec4<f32>, count: u32) {
    if count > 0u {
        let half = select(vec4<u32>(), half_bits(values), vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count));
        output[at / 4u] = pack_half_bits(half);
    }
}

// Four elements as they have been stored from element `at` on, a multiple of four; zeros if `count` is 0.
fn stored4(at: u32, count: u32) -> vec4<f32> {
    if count > 0u {
        let packed = output[at / 4u];
        return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
    }
    return vec4<f32>();
}
