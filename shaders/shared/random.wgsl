
// Counter-based random numbers: tensor::rng is the same function on the host.

// The hash pcg4d of Jarzynski and Olano, "Hash Functions for GPU Rendering" (JCGT 2020).
fn pcg4d(v: vec4<u32>) -> vec4<u32> {
    var x = v * 1664525u + 1013904223u;
    x.x += x.y * x.w;
    x.y += x.z * x.x;
    x.z += x.x * x.y;
    x.w += x.y * x.z;
    x ^= x >> vec4<u32>(16u);
    x.x += x.y * x.w;
    x.y += x.z * x.x;
    x.z += x.x * x.y;
    x.w += x.y * x.z;
    return x;
}

// A uniform number in [0, 1) from the upper 24 bits.
fn unit_f32(bits: u32) -> f32 {
    return f32(bits >> 8u) * (1.0 / 16777216.0);
}
