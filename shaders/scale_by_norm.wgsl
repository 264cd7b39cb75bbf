// scale_by_norm: rows of a tensor, each times a factor that follows from its norm and from that of the same row of a
// reference. `partial` sums squares over parts of rows, one workgroup a part; each workgroup of `scale` adds up its row's
// parts, always in the same order, and scales one part.

struct Params {
    rows: u32,
    len: u32, // elements of a row
    parts: u32, // parts of a row
    part_len: u32,
    rule: u32, // ops::scale_by_norm::Rule
    eps: f32,
    clip_factor: f32,
}

const UNIT: u32 = 0u;
const TRUST: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> reference: array<f32>;
@group(0) @binding(3) var<storage, read> control: array<f32>; // plan::Control
@group(0) @binding(4) var<storage, read_write> partials: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// The first element of a workgroup's part and the one after its last.
fn part(at: u32) -> vec2<u32> {
    let begin = at / params.parts * params.len;
    let first = at % params.parts * params.part_len;
    let last = select(first + params.part_len, params.len, first + params.part_len > params.len);
    return select(vec2<u32>(begin + first, begin + last), vec2<u32>(0u, 0u), at >= params.rows * params.parts);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn partial(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = flat_group(group, groups);
    let range = part(at);
    var sums = vec4<f32>(0.0);
    for (var i = range.x + local; i < range.y; i += WORKGROUP_SIZE) {
        let pair = vec4<f32>(input[i], reference[i], 0.0, 0.0);
        sums = fma(pair, pair, sums);
    }
    let total = workgroup_sum4(local, sums);
    if local == 0u && at < params.rows * params.parts {
        partials[at] = total.xy;
    }
}

// As torch.clamp(min=...): NaN stays.
fn at_least(x: f32, least: f32) -> f32 {
    return select(x, least, x < least);
}

// ops::scale_by_norm::Rule::factor
fn factor(own: f32, other: f32) -> f32 {
    if params.rule == UNIT {
        return 1.0 / at_least(own, params.eps);
    }
    if params.rule == TRUST {
        return select(other / own, 1.0, own == 0.0 || other == 0.0);
    }
    let most = params.clip_factor * at_least(other, params.eps);
    let norm = own / control[5];
    return select(most / at_least(norm, 1e-6), 1.0, norm < most);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn scale(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = flat_group(group, groups);
    let range = part(at);
    let row = at / params.parts;
    var sums = vec4<f32>(0.0);
    for (var i = local; i < params.parts && row < params.rows; i += WORKGROUP_SIZE) {
        sums += vec4<f32>(partials[row * params.parts + i], 0.0, 0.0);
    }
    let total = workgroup_sum4(local, sums);
    let scaled_by = factor(sqrt(total.x), sqrt(total.y));
    for (var i = range.x + local; i < range.y; i += WORKGROUP_SIZE) {
        output[i] = scaled_by * input[i];
    }
}
