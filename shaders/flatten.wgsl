// flatten: images N,H,W,C in memory to rows of PyTorch's order C,H,W; for each sample the transpose of a matrix of
// `rows` x `columns` (forward: pixels x channels; gradient: channels x pixels).

struct Params {
    rows: u32,
    columns: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

// output[n, column, row] = input[n, row, column]
@compute @workgroup_size(WORKGROUP_SIZE)
fn transpose_samples(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.count {
        return;
    }
    let row = i % params.rows;
    let column = i / params.rows % params.columns;
    let sample = i / (params.rows * params.columns);
    output[i] = input[(sample * params.rows + row) * params.columns + column];
}
