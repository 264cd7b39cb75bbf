// concat: one dispatch copies one part, an input, to or from its place in every row of the whole. A row holds the
// channels of a pixel, or the elements of a sample that is no image; an invocation copies PACK of its elements.

struct Params {
    count: u32,
    pieces: u32,
    from_first: u32, from_len: u32,
    to_first: u32, to_len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Packed>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn copy_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i < params.count {
        let row = i / params.pieces;
        let piece = i % params.pieces * PACK;
        let source = row * params.from_len + params.from_first + piece;
        store4(row * params.to_len + params.to_first + piece, unpack(input[source / PACK]), PACK);
    }
}
