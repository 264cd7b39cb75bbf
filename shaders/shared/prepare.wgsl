// Appended to optimizers that update in two passes (with `update`): the entry point of the first one, which leaves in the place
// of the gradients what a graph then reworks. Their files define `direct`, which does so for four elements.

@compute @workgroup_size(WORKGROUP_SIZE)
fn prepare(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) group_count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let settled = judge(local);
    if settled.skipped {
        return;
    }
    let stride = group_count.x * group_count.y * WORKGROUP_SIZE;
    for (var i = flat_index(group, group_count, local); i < params.count / 4u; i += stride) {
        direct(i, settled);
    }
}
