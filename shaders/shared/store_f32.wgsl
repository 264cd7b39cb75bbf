
// The output is f32 and written element by element, because its rows do not begin at multiples of four.

@group(0) @binding(63) var<storage, read_write> output: array<f32>;

alias Stored = f32;

// For further outputs, in kernels that do one element at a time.
fn pack(values: vec4<f32>) -> Stored {
    return values.x;
}

// Writes the first `count` of four elements, beginning at element `at`.
fn store4(at: u32, values: vec4<f32>, count: u32) {
    if count > 0u {
        output[at] = values.x;
    }
    if count > 1u {
        output[at + 1u] = values.y;
    }
    if count > 2u {
        output[at + 2u] = values.z;
    }
    if count > 3u {
        output[at + 3u] = values.w;
    }
}

// The first `count` of four elements as they have been stored from element `at` on; zero after them.
fn stored4(at: u32, count: u32) -> vec4<f32> {
    var values = vec4<f32>();
    if count > 0u {
        values.x = output[at];
    }
    if count > 1u {
        values.y = output[at + 1u];
    }
    if count > 2u {
        values.z = output[at + 2u];
    }
    if count > 3u {
        values.w = output[at + 3u];
    }
    return values;
}
