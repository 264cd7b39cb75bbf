
// Appended to operators with a bias: sums over the rows of grad_output, split into slabs that reduce_slabs adds up. An
// invocation sums four columns.

// partial[slab][column] = sum over the slab's rows of grad_output[row, column]
@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_bias(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quads = params.slab_stride / 4u;
    let i = flat_index(group, groups, local);
    if i >= params.slabs * quads {
        return;
    }
    let column = 4u * (i % quads);
    let first = i / quads * params.slab_len;
    let last = min(first + params.slab_len, params.rows);
    let left = params.columns - 1u - column;
    var sum = vec4<f32>(0.0);
    for (var row = first; row < last; row++) {
        let at = row * params.columns + column;
        if VECTOR_A {
            sum += grad_output4(at);
        } else {
            sum += vec4<f32>(
                grad_output1(at),
                grad_output1(at + min(1u, left)),
                grad_output1(at + min(2u, left)),
                grad_output1(at + min(3u, left)),
            );
        }
    }
    store4(4u * i, sum, params.columns - column);
}
