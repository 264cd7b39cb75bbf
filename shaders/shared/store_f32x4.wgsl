
// The output is f32 and written four elements at a time.

@group(0) @binding(63) var<storage, read_write> output: array<vec4<f32>>;

// Writes four elements, beginning at element `at`, a multiple of four; only the first `count` mean something, and none
// is written if that is 0.
fn store4(at: u32, values: vec4<f32>, count: u32) {
    if count > 0u {
        output[at / 4u] = values;
    }
}
