// cross_entropy: log-softmax and negative log-likelihood in one.
//
// logits N,C   targets N (class indices) or N,C (probabilities)   weight C   normalizers N,3   losses N,2
//   forward      one workgroup per row, whose invocations take every 64th class
//   finish       one workgroup: sums over rows, divided by the total weight for a mean
//   grad_logits  one invocation per logit; alone it computes the gradient under an upstream gradient of 1
//   both         few logits: loss and that gradient in one dispatch of one workgroup, whose invocations take every 64th row

const RUN: u32 = 32u; // rows that are added up on their own, so that rounding grows slowly

struct Params {
    rows: u32,
    classes: u32,
    soft: u32,
    has_weight: u32,
    mean: u32,
    ignore_index: i32,
    label_smoothing: f32,
    nan_bits: u32,
    alone: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<i32>; // class indices, or the bits of probabilities
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> grad_output: array<f32>;
@group(0) @binding(5) var<storage, read> row_normalizers: array<f32>;
@group(0) @binding(6) var<storage, read> total_weight: array<f32>;
@group(0) @binding(7) var<storage, read> row_losses: array<f32>;
@group(0) @binding(8) var<storage, read_write> normalizers: array<f32>; // largest logit, log of the sum, mass
@group(0) @binding(9) var<storage, read_write> losses: array<f32>; // loss, weight
@group(0) @binding(10) var<storage, read_write> output: array<f32>;
@group(0) @binding(11) var<storage, read_write> total: array<f32>;
@group(0) @binding(12) var<storage, read_write> gradient: array<f32>;

fn class_weight(class_index: u32) -> f32 {
    if params.has_weight != 0u {
        return weight[class_index];
    }
    return 1.0;
}

fn is_target(row: u32, class_index: u32) -> bool {
    return params.soft == 0u && u32(targets[row]) == class_index;
}

// The smoothed target of a class times its weight.
fn share(row: u32, class_index: u32) -> f32 {
    var probability = 0.0;
    if params.soft != 0u {
        probability = bitcast<f32>(targets[row * params.classes + class_index]);
    } else if is_target(row, class_index) {
        probability = 1.0;
    }
    let even = params.label_smoothing / f32(params.classes);
    return class_weight(class_index) * (probability * (1.0 - params.label_smoothing) + even);
}

// The largest of a workgroup's values; if it misses a NaN, the sum that it is for finds it.
fn workgroup_largest(local: u32, value: f32) -> f32 {
    workgroupBarrier(); // a former sum may still be read
    reduce_stage[local] = value;
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half && reduce_stage[local + half] > reduce_stage[local] {
            reduce_stage[local] = reduce_stage[local + half];
        }
    }
    workgroupBarrier();
    return reduce_stage[0];
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
    var value = logits[first + min(local, params.classes - 1u)];
    for (var c = local; c < params.classes; c += WORKGROUP_SIZE) {
        value = select(value, logits[first + c], logits[first + c] > value);
    }
    let largest = workgroup_largest(local, value);

    var sum = 0.0;
    for (var c = local; c < params.classes; c += WORKGROUP_SIZE) {
        sum += exp_negative(logits[first + c] - largest);
    }
    let log_sum = accurate_log(workgroup_sum(local, sum));

    var log_likelihood = 0.0;
    var mass = 0.0;
    for (var c = local; c < params.classes; c += WORKGROUP_SIZE) {
        // Without smoothing, an infinite logit of another class must not make the loss NaN.
        if params.soft != 0u || params.label_smoothing != 0.0 || is_target(row, c) {
            log_likelihood += share(row, c) * ((logits[first + c] - largest) - log_sum);
            mass += share(row, c);
        }
    }
    log_likelihood = workgroup_sum(local, log_likelihood);
    mass = workgroup_sum(local, mass);
    if local == 0u && dispatched < params.rows {
        let result = settle(row, log_likelihood, mass);
        normalizers[3u * row] = largest;
        normalizers[3u * row + 1u] = log_sum;
        normalizers[3u * row + 2u] = result.mass;
        losses[2u * row] = result.loss;
        losses[2u * row + 1u] = result.weight;
    }
}

struct RowResult {
    loss: f32,
    weight: f32,
    mass: f32,
}

// Rows that do not count have no loss; rows of a class that does not exist have none that is a number.
fn settle(row: u32, log_likelihood: f32, mass: f32) -> RowResult {
    if params.soft != 0u {
        return RowResult(-log_likelihood, 1.0, mass);
    }
    let wanted = targets[row];
    if wanted == params.ignore_index {
        return RowResult(0.0, 0.0, 0.0);
    }
    if wanted < 0 || u32(wanted) >= params.classes {
        let nan = bitcast<f32>(params.nan_bits);
        return RowResult(nan, nan, nan);
    }
    return RowResult(-log_likelihood, class_weight(u32(wanted)), mass);
}

// The logarithm with one Newton step: log alone is off by up to 2^-21 near 1, where a confident row's sum is.
fn accurate_log(x: f32) -> f32 {
    let y = log(x);
    return y + (x * exp_negative(-y) - 1.0);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn finish(@builtin(local_invocation_index) local: u32) {
    var loss = 0.0;
    var row_weight = 0.0;
    for (var first = local; first < params.rows; first += RUN * WORKGROUP_SIZE) {
        let last = min(first + RUN * WORKGROUP_SIZE, params.rows);
        var run_loss = 0.0;
        var run_weight = 0.0;
        for (var row = first; row < last; row += WORKGROUP_SIZE) {
            run_loss += row_losses[2u * row];
            run_weight += row_losses[2u * row + 1u];
        }
        loss += run_loss;
        row_weight += run_weight;
    }
    loss = workgroup_sum(local, loss);
    row_weight = workgroup_sum(local, row_weight);
    if local == 0u {
        let divisor = select(1.0, row_weight, params.mean != 0u);
        output[0] = loss / divisor;
        total[0] = divisor;
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_logits(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.rows * params.classes {
        return;
    }
    let row = i / params.classes;
    let normalizer = vec3<f32>(row_normalizers[3u * row], row_normalizers[3u * row + 1u], row_normalizers[3u * row + 2u]);
    var scale = 1.0 / total_weight[0];
    if params.alone == 0u {
        scale = grad_output[0] / total_weight[0];
    }
    output[i] = grad_logit(i, normalizer, scale);
}

// scale (p mass - share), where the row's normalizer is its largest logit, the log of the sum, and its mass
fn grad_logit(i: u32, normalizer: vec3<f32>, scale: f32) -> f32 {
    let row = i / params.classes;
    let p = exp_negative((logits[i] - normalizer.x) - normalizer.y);
    // An ignored row has no gradient, even if no row counts and the scale is infinite.
    let ignored = params.soft == 0u && targets[row] == params.ignore_index;
    return select(scale, 0.0, ignored) * (p * normalizer.z - share(row, i % params.classes));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn both(@builtin(local_invocation_index) local: u32) {
    var loss = 0.0;
    var row_weight = 0.0;
    for (var row = local; row < params.rows; row += WORKGROUP_SIZE) {
        let result = row_alone(row);
        loss += result.loss;
        row_weight += result.weight;
    }
    loss = workgroup_sum(local, loss);
    row_weight = workgroup_sum(local, row_weight);
    let divisor = select(1.0, row_weight, params.mean != 0u);
    if local == 0u {
        output[0] = loss / divisor;
        total[0] = divisor;
    }
    for (var row = local; row < params.rows; row += WORKGROUP_SIZE) {
        let normalizer = vec3<f32>(normalizers[3u * row], normalizers[3u * row + 1u], normalizers[3u * row + 2u]);
        for (var i = row * params.classes; i < (row + 1u) * params.classes; i++) {
            gradient[i] = grad_logit(i, normalizer, 1.0 / divisor);
        }
    }
}

// `forward` for one row by one invocation, which also reads the normalizers again.
fn row_alone(row: u32) -> RowResult {
    let first = row * params.classes;
    var largest = logits[first];
    for (var c = 1u; c < params.classes; c++) {
        largest = select(largest, logits[first + c], logits[first + c] > largest);
    }
    var sum = 0.0;
    for (var c = 0u; c < params.classes; c++) {
        sum += exp_negative(logits[first + c] - largest);
    }
    let log_sum = accurate_log(sum);
    var log_likelihood = 0.0;
    var mass = 0.0;
    for (var c = 0u; c < params.classes; c++) {
        if params.soft != 0u || params.label_smoothing != 0.0 || is_target(row, c) {
            log_likelihood += share(row, c) * ((logits[first + c] - largest) - log_sum);
            mass += share(row, c);
        }
    }
    let result = settle(row, log_likelihood, mass);
    normalizers[3u * row] = largest;
    normalizers[3u * row + 1u] = log_sum;
    normalizers[3u * row + 2u] = result.mass;
    return result;
}
