
// Tensors of f32, bound as array<Packed>: four elements at a time. What is bound is a multiple of 16 bytes.

alias Packed = vec4<f32>;
const PACK: u32 = 4u; // elements of one Packed

fn unpack(packed: Packed) -> vec4<f32> {
    return packed;
}

// The sum of the elements of one Packed.
fn sum_lanes(x: vec4<f32>) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}
