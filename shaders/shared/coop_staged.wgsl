
// The way out of a product in one dispatch: each subgroup passes its sums through a strip of workgroup memory, where
// single elements can be read, and writes the output.

var<workgroup> accumulated: array<f32, INVOCATIONS / SUBGROUP * TILE * WIDTH>;

fn emit(block: u32, m: u32, n: u32, local: u32, c0: Sums, c1: Sums, c2: Sums, c3: Sums) {
    let strip = local / SUBGROUP * (TILE * WIDTH);
    store_sums(c0, strip, WIDTH);
    store_sums(c1, strip + TILE, WIDTH);
    if FRAGMENTS_N > 2u {
        store_sums(c2, strip + 2u * TILE, WIDTH);
        store_sums(c3, strip + 3u * TILE, WIDTH);
    }
    workgroupBarrier();
    for (var four = local % SUBGROUP; four < TILE * WIDTH / 4u; four += SUBGROUP) {
        let at = strip + 4u * four;
        let sums =
            vec4<f32>(accumulated[at], accumulated[at + 1u], accumulated[at + 2u], accumulated[at + 3u]);
        finish4(block, m + 4u * four / WIDTH, n + 4u * four % WIDTH, sums);
    }
    workgroupBarrier();
}
