// global_avg_pool2d: the mean over all pixels, per image and channel.
//
// input N,H W,C   output N,C   (physical orders)
//   forward      one workgroup per image and 8 times PACK channels: 8 invocations along the channels, so that reads are
//                contiguous, times 8 along the pixels, added up in a tree
//   grad_input   an invocation does PACK channels of a pixel

const COLUMNS: u32 = 8u; // ops::global_avg_pool2d::COLUMNS
const ROWS: u32 = 8u;
const RUN: u32 = 32u; // pixels that are added up before they are added to the sum, so that rounding grows slowly

struct Params {
    count: u32,
    n: u32, c: u32,
    pixels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Packed>; // of grad_input: grad_output

var<workgroup> sums: array<vec4<f32>, 64>; // ROWS, COLUMNS

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let pieces = params.c / PACK;
    let blocks = (pieces + COLUMNS - 1u) / COLUMNS;
    let block = flat_group(group, groups);
    let sample = block / blocks;
    let piece = block % blocks * COLUMNS + local % COLUMNS;
    let present = sample < params.n && piece < pieces;
    var sum = vec4<f32>(0.0);
    if present {
        for (var first = local / COLUMNS; first < params.pixels; first += ROWS * RUN) {
            let last = min(first + ROWS * RUN, params.pixels);
            var run = vec4<f32>(0.0);
            for (var pixel = first; pixel < last; pixel += ROWS) {
                run += unpack(input[(sample * params.pixels + pixel) * pieces + piece]);
            }
            sum += run;
        }
    }
    sums[local] = sum;
    for (var rows = ROWS / 2u; rows > 0u; rows /= 2u) {
        workgroupBarrier();
        if local < rows * COLUMNS {
            sums[local] += sums[local + rows * COLUMNS];
        }
    }
    if local < COLUMNS && present {
        store4((sample * pieces + piece) * PACK, sums[local] / f32(params.pixels), PACK);
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
        let pieces = params.c / PACK;
        let sample = i / (pieces * params.pixels);
        store4(i * PACK, unpack(input[sample * pieces + i % pieces]) / f32(params.pixels), PACK);
    }
}
