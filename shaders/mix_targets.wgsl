// mix_targets: the share of a sample's class and that of its partner's; one invocation per row and class.
//
// labels N   mix N,6 (the first is the share of the sample's own class)   output N,C

struct Params {
    rows: u32,
    classes: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<i32>;
@group(0) @binding(2) var<storage, read> mix: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.rows * params.classes {
        return;
    }
    let place = i / params.classes;
    let class_index = i32(i % params.classes);
    let other = select(place, place ^ 1u, (place ^ 1u) < params.rows);
    let share = mix[6u * place];
    output[i] = select(0.0, share, labels[place] == class_index) + select(0.0, 1.0 - share, labels[other] == class_index);
}
