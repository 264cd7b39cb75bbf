// adaptive_avg_pool2d: means over boxes that cover the image in as many rows and columns as asked for; the entry points
// are in shared/average.wgsl.
//
// input N,H,W,C   output N,P,Q,C   (physical orders; an invocation does PACK channels)

struct Params {
    count: u32,
    c: u32, h: u32, w: u32,
    p: u32, q: u32,
}

// Part i of `count`: from floor(i size / count) to ceil((i + 1) size / count).
fn part(i: u32, count: u32, size: u32) -> vec2<u32> {
    return vec2<u32>(i * size / count, ((i + 1u) * size + count - 1u) / count);
}

fn box_rows(p: u32) -> vec2<u32> {
    return part(p, params.p, params.h);
}

fn box_columns(q: u32) -> vec2<u32> {
    return part(q, params.q, params.w);
}

// floor(p H / P) <= h < ceil((p + 1) H / P) says floor(h P / H) <= p < ceil((h + 1) P / H): the same rule, turned around.
fn rows_over(h: u32) -> vec2<u32> {
    return part(h, params.h, params.p);
}

fn columns_over(w: u32) -> vec2<u32> {
    return part(w, params.w, params.q);
}

fn divisor(p: u32, q: u32) -> f32 {
    let rows = box_rows(p);
    let columns = box_columns(q);
    return f32((rows.y - rows.x) * (columns.y - columns.x));
}
