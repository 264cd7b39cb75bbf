
// Tensors of f16, bound as array<Packed>: four elements in two words, on every device.

alias Packed = vec2<u32>;
const PACK: u32 = 4u; // elements of one Packed

fn unpack(packed: Packed) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}

// The sum of the elements of one Packed.
fn sum_lanes(x: vec4<f32>) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}
