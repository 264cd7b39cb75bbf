// running_statistics: running += momentum (batch - running) over one page, unless the step is skipped.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> batch: array<f32>;
@group(0) @binding(2) var<storage, read> momenta: array<f32>; // one for each 64 elements
@group(0) @binding(3) var<storage, read> control: array<f32>;
@group(0) @binding(4) var<storage, read_write> running: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn update(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i < params.count && control[7] == 0.0 {
        running[i] += momenta[i / 64u] * (batch[i] - running[i]);
    }
}
