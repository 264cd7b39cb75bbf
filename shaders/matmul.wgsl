// matmul: the product of two matrices. Bindings and entry points are in shared/product.wgsl and shared/slabs.wgsl, the
// tiles in shared/gemm.wgsl; the host gives the strides:
//   forward  output = a b         GEMM_M = rows of a, GEMM_N = columns of b, GEMM_K = columns of a
//   grad_a   = grad_output b^T    grad_b = a^T grad_output
