// linear: input [N, in], weight [out, in], output [N, out]. The products are in shared/product.wgsl:
//   forward      output = input weight^T + bias      GEMM_M = N    GEMM_N = out  GEMM_K = in
//   grad_input   = grad_output weight                GEMM_M = N    GEMM_N = in   GEMM_K = out
//   grad_weight  = grad_output^T input               GEMM_M = out  GEMM_N = in   GEMM_K = N
//   grad_bias    sums over N in two passes, the second by reduce_slabs

@group(0) @binding(6) var<storage, read> grad_output: array<f32>; // m rows of n columns

// partial[slab][n] = sum over the slab's rows of grad_output[row, n]
@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_bias(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.slabs * params.n {
        return;
    }
    let slab = i / params.n;
    let last = min((slab + 1u) * params.slab_len, params.m);
    var sum = 0.0;
    for (var row = slab * params.slab_len; row < last; row++) {
        sum += grad_output[row * params.n + i % params.n];
    }
    output[i] = sum;
}
