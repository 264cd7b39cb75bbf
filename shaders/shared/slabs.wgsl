
// Appended to the GEMM family: sums that are split into slabs. `partials` holds the slabs one after another, each padded
// to whole vec4.

@group(0) @binding(60) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(61) var<storage, read> bias: array<f32>;

// The bias of four columns; columns at the end repeat.
fn bias4(column: u32, columns: u32) -> vec4<f32> {
    let last = columns - 1u;
    return vec4<f32>(
        bias[min(column, last)],
        bias[min(column + 1u, last)],
        bias[min(column + 2u, last)],
        bias[min(column + 3u, last)],
    );
}

// A workgroup sums 16 vec4: four invocations take every fourth slab of each, in order, and their sums are added in order.
const SLAB_QUADS: u32 = 16u;
var<workgroup> slab_sums: array<vec4<f32>, 64>;

// output[i] = epilogue(sum over slabs of partials[slab][i] + bias[i mod columns])
@compute @workgroup_size(64)
fn reduce_slabs(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quad = flat_group(group, groups) * SLAB_QUADS + local % SLAB_QUADS;
    var sum = vec4<f32>(0.0);
    if 4u * quad < params.count {
        for (var slab = local / SLAB_QUADS; slab < params.slabs; slab += 4u) {
            sum += partials[slab * (params.slab_stride / 4u) + quad];
        }
    }
    slab_sums[local] = sum;
    workgroupBarrier();
    if local < SLAB_QUADS && 4u * quad < params.count {
        sum = slab_sums[local] + slab_sums[local + 16u] + slab_sums[local + 32u] + slab_sums[local + 48u];
        if params.has_bias != 0u {
            let i = 4u * quad;
            let columns = params.columns;
            sum += vec4<f32>(
                bias[i % columns],
                bias[(i + 1u) % columns],
                bias[(i + 2u) % columns],
                bias[(i + 3u) % columns],
            );
        }
        store4(4u * quad, epilogue(sum), params.count - 4u * quad);
    }
}
