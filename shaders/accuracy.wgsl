// accuracy: how many rows' largest logit belongs to the target's class.
//
// logits N,C   targets N (class indices) or N,C (probabilities)
//   forward  one workgroup per row, whose invocations take every 64th class: 1 if right, 0 if wrong
//   finish   one workgroup: the sum
//   alone    few logits: both in one dispatch of one workgroup, whose invocations take every 64th row

struct Params {
    rows: u32,
    classes: u32,
    soft: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<i32>; // class indices, or the bits of probabilities
@group(0) @binding(3) var<storage, read> correct: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

var<workgroup> values: array<f32, WORKGROUP_SIZE>;
var<workgroup> classes_of_values: array<u32, WORKGROUP_SIZE>;

// Whether (a, class i) comes before (b, class j) in the search for the first of the largest; NaN is the largest.
fn wins(a: f32, i: u32, b: f32, j: u32) -> bool {
    if is_nan(a) || is_nan(b) {
        return is_nan(a) && (!is_nan(b) || i < j);
    }
    return a > b || (a == b && i < j);
}

// The class of the largest of the workgroup's values.
fn workgroup_argmax(local: u32, value: f32, class_index: u32) -> u32 {
    workgroupBarrier(); // a former result may still be read
    values[local] = value;
    classes_of_values[local] = class_index;
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            let other = local + half;
            if wins(values[other], classes_of_values[other], values[local], classes_of_values[local]) {
                values[local] = values[other];
                classes_of_values[local] = classes_of_values[other];
            }
        }
    }
    workgroupBarrier();
    return classes_of_values[0];
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let dispatched = flat_group(group, groups);
    let row = min(dispatched, params.rows - 1u); // all invocations of surplus workgroups go along to the barriers
    let first = row * params.classes;
    // Invocations without a class repeat the last one.
    let start = min(local, params.classes - 1u);

    var best = start;
    for (var c = start; c < params.classes; c += WORKGROUP_SIZE) {
        if wins(logits[first + c], c, logits[first + best], best) {
            best = c;
        }
    }
    let answer = workgroup_argmax(local, logits[first + best], best);

    var wanted = 0u;
    if params.soft != 0u {
        best = start;
        for (var c = start; c < params.classes; c += WORKGROUP_SIZE) {
            if wins(bitcast<f32>(targets[first + c]), c, bitcast<f32>(targets[first + best]), best) {
                best = c;
            }
        }
        wanted = workgroup_argmax(local, bitcast<f32>(targets[first + best]), best);
    } else {
        wanted = u32(targets[row]); // what is no class becomes too large a number
    }
    if local == 0u && dispatched < params.rows {
        output[row] = select(0.0, 1.0, answer == wanted);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn finish(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var row = local; row < params.rows; row += WORKGROUP_SIZE) {
        sum += correct[row];
    }
    let total = workgroup_sum(local, sum);
    if local == 0u {
        output[0] = total;
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn alone(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var row = local; row < params.rows; row += WORKGROUP_SIZE) {
        let first = row * params.classes;
        var best = 0u;
        for (var c = 1u; c < params.classes; c++) {
            best = select(best, c, wins(logits[first + c], c, logits[first + best], best));
        }
        var wanted = 0u;
        if params.soft != 0u {
            for (var c = 1u; c < params.classes; c++) {
                let value = bitcast<f32>(targets[first + c]);
                wanted = select(wanted, c, wins(value, c, bitcast<f32>(targets[first + wanted]), wanted));
            }
        } else {
            wanted = u32(targets[row]); // what is no class becomes too large a number
        }
        sum += select(0.0, 1.0, best == wanted);
    }
    let total = workgroup_sum(local, sum);
    if local == 0u {
        output[0] = total;
    }
}
