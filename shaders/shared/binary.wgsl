
// Appended to add and mul, whose files define combine(a, b): bindings and the entry point of a broadcasting function of
// two tensors. The strides are in the output's physical order; 0 where an input is stretched. An invocation does four
// elements of the output.

struct Params {
    count: u32,
    extent_1: u32, extent_2: u32, extent_3: u32,
    a_0: u32, a_1: u32, a_2: u32, a_3: u32,
    b_0: u32, b_1: u32, b_2: u32, b_3: u32,
    fours: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Packed>;
@group(0) @binding(2) var<storage, read> b: array<Packed>;

// The elements of a and b that belong to the output's i-th.
fn sources(i: u32) -> vec2<u32> {
    let at_3 = i % params.extent_3;
    let rows = i / params.extent_3;
    let at_2 = rows % params.extent_2;
    let planes = rows / params.extent_2;
    let at_1 = planes % params.extent_1;
    let at_0 = planes / params.extent_1;
    let from_a = at_0 * params.a_0 + at_1 * params.a_1 + at_2 * params.a_2 + at_3 * params.a_3;
    let from_b = at_0 * params.b_0 + at_1 * params.b_1 + at_2 * params.b_2 + at_3 * params.b_3;
    return vec2<u32>(from_a, from_b);
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
    var x = vec4<f32>(0.0);
    var y = vec4<f32>(0.0);
    if params.fours != 0u {
        // Four neighbours, or one element stretched over them.
        let source = sources(at);
        x = unpack(a[source.x / 4u]);
        y = unpack(b[source.y / 4u]);
        x = select(vec4<f32>(x[source.x % 4u]), x, vec4<bool>(params.a_3 == 1u));
        y = select(vec4<f32>(y[source.y % 4u]), y, vec4<bool>(params.b_3 == 1u));
    } else {
        for (var i = 0u; i < min(4u, params.count - at); i++) {
            let source = sources(at + i);
            x[i] = unpack(a[source.x / 4u])[source.x % 4u];
            y[i] = unpack(b[source.y / 4u])[source.y % 4u];
        }
    }
    let z = vec4<f32>(combine(x.x, y.x), combine(x.y, y.y), combine(x.z, y.z), combine(x.w, y.w));
    store4(at, z, params.count - at);
}
