
// Appended to add and mul, whose files define combine(a, b): bindings and the entry point of a broadcasting function of
// two tensors. The strides are in the output's physical order; 0 where an input is stretched.

struct Params {
    count: u32,
    extent_1: u32, extent_2: u32, extent_3: u32,
    a_0: u32, a_1: u32, a_2: u32, a_3: u32,
    b_0: u32, b_1: u32, b_2: u32, b_3: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
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
    let at_3 = i % params.extent_3;
    let rows = i / params.extent_3;
    let at_2 = rows % params.extent_2;
    let planes = rows / params.extent_2;
    let at_1 = planes % params.extent_1;
    let at_0 = planes / params.extent_1;
    let from_a = at_0 * params.a_0 + at_1 * params.a_1 + at_2 * params.a_2 + at_3 * params.a_3;
    let from_b = at_0 * params.b_0 + at_1 * params.b_1 + at_2 * params.b_2 + at_3 * params.b_3;
    output[i] = combine(a[from_a], b[from_b]);
}
