
// The output is f32 and written element by element, because its rows do not begin at multiples of four.

@group(0) @binding(63) var<storage, read_write> output: array<f32>;

// Writes the first `count` of four elements, beginning at element `at`.
fn store4(at: u32, values: vec4<f32>, count: u32) {
    for (var i = 0u; i < min(count, 4u); i++) {
        output[at + i] = values[i];
    }
}
