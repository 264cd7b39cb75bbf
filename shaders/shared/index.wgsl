
// Appended to every shader: where an invocation is, and what changes from step to step.

// The workgroup's number when the host has spread workgroups over x and y.
fn flat_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

// The invocation's number in a dispatch of one invocation per element.
fn flat_index(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return flat_group(group, groups) * WORKGROUP_SIZE + local;
}

// NaN and infinity by their bits: comparisons may be optimised away.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// graph::Step
struct Step {
    seed: vec2<u32>,
    step: u32,
    sample_base: u32,
    learning_rate: f32,
    clip_norm: f32,
    micro_batch: u32,
    micro_batches: u32,
    optimizer: vec4<f32>,
    clip_value: f32,
    ema_share: f32,
}
