
// Sums over a workgroup in a fixed tree, so that they are the same run after run. Every invocation must call it.

var<workgroup> reduce_stage: array<f32, WORKGROUP_SIZE>;

fn workgroup_sum(local: u32, value: f32) -> f32 {
    workgroupBarrier(); // a former sum may still be read
    reduce_stage[local] = value;
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            reduce_stage[local] += reduce_stage[local + half];
        }
    }
    workgroupBarrier();
    return reduce_stage[0];
}

var<workgroup> reduce_stage4: array<vec4<f32>, WORKGROUP_SIZE>;

fn workgroup_sum4(local: u32, value: vec4<f32>) -> vec4<f32> {
    workgroupBarrier(); // a former sum may still be read
    reduce_stage4[local] = value;
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            reduce_stage4[local] += reduce_stage4[local + half];
        }
    }
    workgroupBarrier();
    return reduce_stage4[0];
}
