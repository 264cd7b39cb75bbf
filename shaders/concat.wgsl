// concat: one dispatch copies one part, an input, to or from its place in every row of the whole. A row holds the
// channels of a pixel, or the elements of a sample that is no image.

struct Params {
    count: u32,
    part: u32,
    whole: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> grad_output: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

// The place in the whole of the part's i-th element.
fn place(i: u32) -> u32 {
    return i / params.part * params.whole + params.first + i % params.part;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i < params.count {
        output[place(i)] = input[i];
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i < params.count {
        output[i] = grad_output[place(i)];
    }
}
