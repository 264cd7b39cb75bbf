
// The way out of a product in two dispatches: sums go to memory as f32, `finish` makes the output of them.

@group(0) @binding(7) var<storage, read_write> accumulated: array<f32>;

fn emit(block: u32, m: u32, n: u32, local: u32, c0: Sums, c1: Sums, c2: Sums, c3: Sums) {
    let at = (block * params.partial_m + m) * params.partial_n + n;
    store_sums(c0, at, params.partial_n);
    store_sums(c1, at + TILE, params.partial_n);
    if FRAGMENTS_N > 2u {
        store_sums(c2, at + 2u * TILE, params.partial_n);
        store_sums(c3, at + 3u * TILE, params.partial_n);
    }
}
