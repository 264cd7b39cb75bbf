
// The output is f32 and written four elements at a time.

@group(0) @binding(63) var<storage, read_write> output: array<Stored>;

alias Stored = vec4<f32>;

fn pack(values: vec4<f32>) -> Stored {
    return values;
}

// Writes four elements, beginning at element `at`, a multiple of four, of which those from `count` on become zeros: they
// may be padding in a page, whose norm is taken as a whole. None is written if `count` is 0.
fn store4(at: u32, values: vec4<f32>, count: u32) {
    if count > 0u {
        output[at / 4u] = select(vec4<f32>(), values, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count));
    }
}

// Four elements as they have been stored from element `at` on, a multiple of four; zeros if `count` is 0.
fn stored4(at: u32, count: u32) -> vec4<f32> {
    if count > 0u {
        return output[at / 4u];
    }
    return vec4<f32>();
}
