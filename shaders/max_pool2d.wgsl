// max_pool2d: the largest pixel under each window, per channel.
//
// input N,H,W,C   output and taps N,P,Q,C   (physical orders; an invocation does PACK channels)
//   forward      looks for the first of the largest under R S taps, and keeps its number r S + s
//   grad_input   gathers from the windows that cover a pixel those that it has won

struct Params {
    count: u32,
    c: u32, h: u32, w: u32,
    p: u32, q: u32,
    r: u32, s: u32,
    stride_h: u32, stride_w: u32,
    padding_h: u32, padding_w: u32,
    dilation_h: u32, dilation_w: u32,
    lowest: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Packed>;
@group(0) @binding(2) var<storage, read> grad_output: array<Packed>;
@group(0) @binding(3) var<storage, read> winners: array<Packed>;
@group(0) @binding(4) var<storage, read_write> taps: array<Stored>; // -1 where a whole window is padding

fn are_nan(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

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
    let channel = i % pieces * PACK;
    let column = i / pieces % params.q * params.stride_w;
    let row = i / (pieces * params.q) % params.p * params.stride_h;
    let first = i / (pieces * params.q * params.p) * params.h;
    var best = vec4<f32>(params.lowest);
    var winner = vec4<f32>(-1.0);
    for (var r = 0u; r < params.r; r++) {
        // Above the image the difference wraps to a large number.
        let h = row + r * params.dilation_h - params.padding_h;
        if h >= params.h {
            continue;
        }
        for (var s = 0u; s < params.s; s++) {
            let w = column + s * params.dilation_w - params.padding_w;
            if w >= params.w {
                continue;
            }
            let x = unpack(input[(((first + h) * params.w + w) * params.c + channel) / PACK]);
            let wins = (winner < vec4<f32>(0.0)) | (x > best) | are_nan(x);
            best = select(best, x, wins);
            winner = select(winner, vec4<f32>(f32(r * params.s + s)), wins);
        }
    }
    store4(i * PACK, best, PACK);
    taps[i] = pack(winner);
}

// The first and the last window that reach a position (padding included) along one side.
fn windows(position: u32, span: u32, stride: u32, count: u32) -> vec2<u32> {
    var first = 0u;
    if position >= span {
        first = (position - span) / stride + 1u;
    }
    return vec2<u32>(first, min(position / stride + 1u, count));
}

// grad_input[h, w] = sum of grad_output[p, q] over the windows whose winner is (h, w)
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
    let channel = i % pieces * PACK;
    let column = i / pieces % params.w + params.padding_w;
    let row = i / (pieces * params.w) % params.h + params.padding_h;
    let first = i / (pieces * params.w * params.h) * params.p;
    let rows = windows(row, (params.r - 1u) * params.dilation_h + 1u, params.stride_h, params.p);
    let columns = windows(column, (params.s - 1u) * params.dilation_w + 1u, params.stride_w, params.q);
    var sum = vec4<f32>(0.0);
    for (var p = rows.x; p < rows.y; p++) {
        let down = row - p * params.stride_h;
        if down % params.dilation_h != 0u {
            continue;
        }
        for (var q = columns.x; q < columns.y; q++) {
            let right = column - q * params.stride_w;
            if right % params.dilation_w != 0u {
                continue;
            }
            let tap = f32(down / params.dilation_h * params.s + right / params.dilation_w);
            let at = (((first + p) * params.q + q) * params.c + channel) / PACK;
            let won = unpack(winners[at]) == vec4<f32>(tap);
            sum += select(vec4<f32>(0.0), unpack(grad_output[at]), won);
        }
    }
    store4(i * PACK, sum, PACK);
}
