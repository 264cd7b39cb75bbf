// global_avg_pool2d: the mean over all pixels, per image and channel.
//
// input N,H W,C   output N,C   (physical orders)
//   forward      one workgroup per image and 8 channels: 8 lanes along the channels, so that reads are contiguous, times
//                8 lanes along the pixels, added up in a tree
//   grad_input   one invocation per element

const CHANNELS: u32 = 8u; // ops::global_avg_pool2d::CHANNELS
const LANES: u32 = 8u;
const RUN: u32 = 32u; // pixels that a lane adds up before it adds them to its sum, so that rounding grows slowly

struct Params {
    count: u32,
    n: u32, c: u32,
    pixels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> grad_output: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

var<workgroup> sums: array<f32, 64>; // LANES, CHANNELS

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let blocks = (params.c + CHANNELS - 1u) / CHANNELS;
    let block = flat_group(group, groups);
    let sample = block / blocks;
    let channel = block % blocks * CHANNELS + local % CHANNELS;
    let present = sample < params.n && channel < params.c;
    var sum = 0.0;
    if present {
        for (var first = local / CHANNELS; first < params.pixels; first += LANES * RUN) {
            let last = min(first + LANES * RUN, params.pixels);
            var run = 0.0;
            for (var pixel = first; pixel < last; pixel += LANES) {
                run += input[(sample * params.pixels + pixel) * params.c + channel];
            }
            sum += run;
        }
    }
    sums[local] = sum;
    for (var lanes = LANES / 2u; lanes > 0u; lanes /= 2u) {
        workgroupBarrier();
        if local < lanes * CHANNELS {
            sums[local] += sums[local + lanes * CHANNELS];
        }
    }
    if local < CHANNELS && present {
        output[sample * params.c + channel] = sums[local] / f32(params.pixels);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i < params.count {
        let sample = i / (params.c * params.pixels);
        output[i] = grad_output[sample * params.c + i % params.c] / f32(params.pixels);
    }
}
