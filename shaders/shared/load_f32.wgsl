
// Tensors of f32, bound as array<Packed>: four elements at a time. What is bound is a multiple of 16 bytes.

alias Packed = vec4<f32>;
const PACK: u32 = 4u; // elements of one Packed

fn unpack(packed: Packed) -> vec4<f32> {
    return packed;
}
