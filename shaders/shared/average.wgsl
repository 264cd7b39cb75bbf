
// Appended to avg_pool2d and adaptive_avg_pool2d: bindings and entry points of pools whose output pixels are sums over
// boxes of input pixels. Their files define the struct Params (count, c, h, w, p, q and their own), and
//   box_rows(p), box_columns(q)      first and one past the last input row or column of an output row or column
//   rows_over(h), columns_over(w)    first and one past the last output row or column whose box holds an input row or column
//   divisor(p, q)                    what the sum over a box is divided by
// An invocation does PACK channels of a pixel.

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Packed>; // of grad_input: grad_output

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.count {
        return;
    }
    let pieces = params.c / PACK;
    let piece = i % pieces;
    let q = i / pieces % params.q;
    let p = i / (pieces * params.q) % params.p;
    let first = i / (pieces * params.q * params.p) * params.h;
    let rows = box_rows(p);
    let columns = box_columns(q);
    var sum = vec4<f32>(0.0);
    for (var h = rows.x; h < rows.y; h++) {
        var line = vec4<f32>(0.0); // on its own, so that rounding grows slowly
        for (var w = columns.x; w < columns.y; w++) {
            line += unpack(input[((first + h) * params.w + w) * pieces + piece]);
        }
        sum += line;
    }
    store4(i * PACK, sum / divisor(p, q), PACK);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.count {
        return;
    }
    let pieces = params.c / PACK;
    let piece = i % pieces;
    let first = i / (pieces * params.w * params.h) * params.p;
    let rows = rows_over(i / (pieces * params.w) % params.h);
    let columns = columns_over(i / pieces % params.w);
    var sum = vec4<f32>(0.0);
    for (var p = rows.x; p < rows.y; p++) {
        for (var q = columns.x; q < columns.y; q++) {
            sum += unpack(input[((first + p) * params.q + q) * pieces + piece]) / divisor(p, q);
        }
    }
    store4(i * PACK, sum, PACK);
}
