// accumulate: what a step's micro-batches have found, one after another, becomes what the whole batch would have.
//
//   totals      sums of weights, weighted losses and correct predictions in control; after the last micro-batch the
//               loss and the correct predictions of the whole batch
//   gradients   sums of weighted gradients; after the last micro-batch their mean
//   statistics  what running statistics would have taken in micro-batch by micro-batch; after the last one as a single
//               batch's statistic for the momentum 1 - (1 - momentum)^count
//
// A micro-batch's weight is what its mean loss was divided by: its valid labels, or their classes' weights.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> totals_so_far: array<f32>;
@group(0) @binding(4) var<storage, read> momenta: array<vec2<f32>>; // momentum and 1 - (1 - momentum)^count, for each 64 elements
@group(0) @binding(5) var<storage, read_write> loss: array<f32>;
@group(0) @binding(6) var<storage, read_write> correct: array<f32>;
@group(0) @binding(7) var<storage, read_write> control: array<f32>;
@group(0) @binding(8) var<storage, read_write> gradients_of_batch: array<f32>;
@group(0) @binding(9) var<storage, read_write> statistics_of_batch: array<f32>;
@group(0) @binding(10) var<storage, read_write> sums: array<f32>;

// plan::Control
const WEIGHT: u32 = 8u;
const WEIGHT_SUM: u32 = 9u;
const LOSS_SUM: u32 = 10u;
const CORRECT_SUM: u32 = 11u;

fn is_first() -> bool {
    return step.micro_batch == 0u;
}

fn is_last() -> bool {
    return step.micro_batch + 1u == step.micro_batches;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn totals(@builtin(local_invocation_index) local: u32) {
    if local != 0u {
        return;
    }
    let own = weight[0];
    var weights = own;
    // Without a valid label a mean is 0/0; such a micro-batch adds nothing.
    var losses = select(own * loss[0], 0.0, own == 0.0);
    var right = correct[0];
    if !is_first() {
        weights += control[WEIGHT_SUM];
        losses += control[LOSS_SUM];
        right += control[CORRECT_SUM];
    }
    control[WEIGHT] = own;
    control[WEIGHT_SUM] = weights;
    control[LOSS_SUM] = losses;
    control[CORRECT_SUM] = right;
    if is_last() {
        loss[0] = losses / weights;
        correct[0] = right;
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn gradients(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.count {
        return;
    }
    var sum = totals_so_far[WEIGHT] * gradients_of_batch[i];
    if !is_first() {
        sum = fma(totals_so_far[WEIGHT], gradients_of_batch[i], sums[i]);
    }
    if is_last() {
        gradients_of_batch[i] = sum / totals_so_far[WEIGHT_SUM];
    } else {
        sums[i] = sum;
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn statistics(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.count {
        return;
    }
    let momentum = momenta[i / 64u];
    var sum = momentum.x * statistics_of_batch[i];
    if !is_first() {
        sum = fma(1.0 - momentum.x, sums[i], sum);
    }
    if !is_last() {
        sums[i] = sum;
    } else if momentum.y > 0.0 {
        statistics_of_batch[i] = sum / momentum.y;
    }
}
