
// Appended to the dropouts, whose files define unit(n, c, pixel), the number of what is kept or dropped as a whole:
// bindings and the entry point of y = x mask. The gradient is the same multiplication, so masks are not stored.
//
// The random number of a unit follows from the seed, the node's name (key), the step and the unit's number in the
// logical batch. An element lies at (n, pixel, c) in memory; for tensors that are no images there is one pixel. An
// invocation does four elements.

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
@group(0) @binding(2) var<storage, read> input: array<Packed>;

// The mask of element i.
fn mask(i: u32, stream: vec3<u32>) -> f32 {
    let row = i / params.channels;
    let n = step.sample_base + row / params.pixels;
    let bits = pcg4d(vec4<u32>(unit(n, i % params.channels, row % params.pixels), stream)).x;
    return select(0.0, params.scale, unit_f32(bits) >= params.p);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = 4u * flat_index(group, groups, local);
    if at >= params.count {
        return;
    }
    let stream = pcg4d(vec4<u32>(step.seed, params.key, step.step)).xyz;
    let masks = vec4<f32>(mask(at, stream), mask(at + 1u, stream), mask(at + 2u, stream), mask(at + 3u, stream));
    // A product, not a choice of 0: a dropped NaN stays a NaN, as in PyTorch.
    store4(at, unpack(input[at / 4u]) * masks, params.count - at);
}
