// linear: input [N, in], weight [out, in], output [N, out]. The products are in shared/product.wgsl, the sums of slabs
// and the gradient of the bias in shared/slabs.wgsl:
//   forward      output = input weight^T + bias      GEMM_M = N    GEMM_N = out  GEMM_K = in
//   grad_input   = grad_output weight                GEMM_M = N    GEMM_N = in   GEMM_K = out
//   grad_weight  = grad_output^T input               GEMM_M = out  GEMM_N = in   GEMM_K = N
//   grad_bias    sums over N in two passes, the second by reduce_slabs

@group(0) @binding(3) var<storage, read> grad_output: array<Packed>; // rows of columns

fn grad_output1(at: u32) -> f32 {
    return unpack(grad_output[at / PACK])[at % PACK];
}

fn grad_output4(at: u32) -> vec4<f32> {
    return unpack(grad_output[at / PACK]);
}
