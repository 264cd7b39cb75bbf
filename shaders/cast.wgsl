// cast: the same numbers in another element type; an invocation does four elements.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Packed>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = 4u * flat_index(group, groups, local);
    if at < params.count {
        store4(at, unpack(input[at / 4u]), params.count - at);
    }
}
