
// Tensors of f32, bound as array<Packed>: one element at a time, for shaders that read rows which do not begin at
// multiples of four; they divide their indices by PACK.

alias Packed = f32;
const PACK: u32 = 1u;

fn unpack(packed: Packed) -> vec4<f32> {
    return vec4<f32>(packed);
}

fn sum_lanes(x: vec4<f32>) -> f32 {
    return x.x;
}
