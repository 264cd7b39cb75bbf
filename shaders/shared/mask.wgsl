
// Appended to the dropouts, whose files define unit(n, c, pixel), the number of what is kept or dropped as a whole:
// bindings and the entry point of y = x mask. The gradient is the same multiplication, so masks are not stored.
//
// The random number of a unit follows from the seed, the node's name (key), the step and the unit's number in the
// logical batch. An element lies at (n, pixel, c) in memory; for tensors that are no images there is one pixel.

struct Params {
    count: u32,
    channels: u32,
    pixels: u32,
    key: u32,
    p: f32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> input: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.count {
        return;
    }
    let row = i / params.channels;
    let n = step.sample_base + row / params.pixels;
    let stream = pcg4d(vec4<u32>(step.seed, params.key, step.step));
    let bits = pcg4d(vec4<u32>(unit(n, i % params.channels, row % params.pixels), stream.xyz)).x;
    // A product, not a choice of 0: a dropped NaN stays a NaN, as in PyTorch.
    output[i] = input[i] * select(0.0, params.scale, unit_f32(bits) >= params.p);
}
