// flatten: transposes rows x columns matrices, one per sample; its gradient transposes them back. An invocation does four
// elements of the output.
//
// output[n, column, row] = input[n, row, column]

struct Params {
    rows: u32,
    columns: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Packed>;

// The input's element that becomes the output's i-th.
fn source(i: u32) -> f32 {
    let sample = params.rows * params.columns;
    let row = i % params.rows;
    let column = i / params.rows % params.columns;
    let at = i / sample * sample + row * params.columns + column;
    return unpack(input[at / 4u])[at % 4u];
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn transpose_samples(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = 4u * flat_index(group, groups, local);
    if at >= params.count {
        return;
    }
    var values = vec4<f32>(0.0);
    for (var i = 0u; i < min(4u, params.count - at); i++) {
        values[i] = source(at + i);
    }
    store4(at, values, params.count - at);
}
