// avg_pool2d: the mean under each window, per channel; the entry points are in shared/average.wgsl.
//
// input N,H,W,C   output N,P,Q,C   (physical orders; an invocation does PACK channels)

struct Params {
    count: u32,
    c: u32, h: u32, w: u32,
    p: u32, q: u32,
    r: u32, s: u32,
    stride_h: u32, stride_w: u32,
    padding_h: u32, padding_w: u32,
    count_include_pad: u32,
    divisor_override: u32,
}

// Window i along a side, without its padding. Positions count from the start of the padding before the side.
fn window(i: u32, kernel: u32, stride: u32, padding: u32, size: u32) -> vec2<u32> {
    return vec2<u32>(max(i * stride, padding), min(i * stride + kernel, padding + size)) - padding;
}

fn box_rows(p: u32) -> vec2<u32> {
    return window(p, params.r, params.stride_h, params.padding_h, params.h);
}

fn box_columns(q: u32) -> vec2<u32> {
    return window(q, params.s, params.stride_w, params.padding_w, params.w);
}

// The windows that hold a position: first and one past the last.
fn windows_over(position: u32, kernel: u32, stride: u32, count: u32) -> vec2<u32> {
    var first = 0u;
    if position >= kernel {
        first = (position - kernel) / stride + 1u;
    }
    return vec2<u32>(first, min(position / stride + 1u, count));
}

fn rows_over(h: u32) -> vec2<u32> {
    return windows_over(h + params.padding_h, params.r, params.stride_h, params.p);
}

fn columns_over(w: u32) -> vec2<u32> {
    return windows_over(w + params.padding_w, params.s, params.stride_w, params.q);
}

// What a window contributes to the divisor: padding on both sides may count, what hangs over it does not.
fn extent(i: u32, kernel: u32, stride: u32, padding: u32, size: u32) -> u32 {
    if params.count_include_pad != 0u {
        return min(i * stride + kernel, size + 2u * padding) - i * stride;
    }
    let inside = window(i, kernel, stride, padding, size);
    return inside.y - inside.x;
}

fn divisor(p: u32, q: u32) -> f32 {
    if params.divisor_override != 0u {
        return f32(params.divisor_override);
    }
    return f32(extent(p, params.r, params.stride_h, params.padding_h, params.h)
        * extent(q, params.s, params.stride_w, params.padding_w, params.w));
}
