// sum_to: a broadcast tensor summed back to the smaller shape; one workgroup per element of the output.
//
// The input's four extents in physical order are split in two: what the output keeps (keep_*, its own strides out_*)
// and what is summed (sum_*); an extent that does not belong to a part is 1 there.

struct Params {
    count: u32,
    sum_count: u32,
    keep_1: u32, keep_2: u32, keep_3: u32,
    sum_1: u32, sum_2: u32, sum_3: u32,
    in_0: u32, in_1: u32, in_2: u32, in_3: u32,
    out_0: u32, out_1: u32, out_2: u32, out_3: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Packed>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

// The four coordinates of the i-th element of a box with these inner extents.
fn coordinates(i: u32, e1: u32, e2: u32, e3: u32) -> vec4<u32> {
    return vec4<u32>(i / (e1 * e2 * e3), i / (e2 * e3) % e1, i / e3 % e2, i % e3);
}

fn offset(at: vec4<u32>, strides: vec4<u32>) -> u32 {
    return at.x * strides.x + at.y * strides.y + at.z * strides.z + at.w * strides.w;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups);
    let keep = coordinates(i, params.keep_1, params.keep_2, params.keep_3);
    let input_strides = vec4<u32>(params.in_0, params.in_1, params.in_2, params.in_3);
    let first = offset(keep, input_strides);
    var sum = 0.0;
    if i < params.count {
        for (var j = local; j < params.sum_count; j += WORKGROUP_SIZE) {
            let at = first + offset(coordinates(j, params.sum_1, params.sum_2, params.sum_3), input_strides);
            sum += unpack(input[at / 4u])[at % 4u];
        }
    }
    let total = workgroup_sum(local, sum);
    if local == 0u && i < params.count {
        output[offset(keep, vec4<u32>(params.out_0, params.out_1, params.out_2, params.out_3))] = total;
    }
}
