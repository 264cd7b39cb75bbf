
// Appended to the elementwise activations, whose files define activation(x) and derivative(x). It holds their bindings
// and entry points too, so that nine files are nine formulas. An invocation does four elements.

struct Params {
    count: u32,
    alpha: f32,
    beta: f32,
    has_more: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Packed>;
@group(0) @binding(2) var<storage, read> grad_output: array<Packed>;
@group(0) @binding(3) var<storage, read> more: array<Packed>; // a second gradient that arrives, to be added

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = 4u * flat_index(group, groups, local);
    if at < params.count {
        let x = unpack(input[at / 4u]);
        let y = vec4<f32>(activation(x.x), activation(x.y), activation(x.z), activation(x.w));
        store4(at, y, params.count - at);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = 4u * flat_index(group, groups, local);
    if at < params.count {
        let x = unpack(input[at / 4u]);
        var dy = unpack(grad_output[at / 4u]);
        if params.has_more != 0u {
            dy += unpack(more[at / 4u]);
        }
        let slope = vec4<f32>(derivative(x.x), derivative(x.y), derivative(x.z), derivative(x.w));
        store4(at, dy * slope, params.count - at);
    }
}
