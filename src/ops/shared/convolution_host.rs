//! CPU kernels of `conv2d`: im2col and matrix products. Letters as in `conv2d`.

use super::im2col::Dims;
use super::matrix::sum_rows;
use crate::graph::{Gemm, Host, Real};

/// `output = im2col(input) weight^T + bias`, some images at a time.
pub(crate) fn forward<T: Real>(
    dims: &Dims,
    host: &dyn Host<T>,
    input: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    output: &mut [T],
) {
    let (rows, images) = (dims.p * dims.q, dims.images_per_chunk());
    let image = rows * dims.k;
    host.for_each_chunk(output, images * image, &|chunk, output| {
        let input = &input[chunk * images * dims.image()..];
        let count = output.len() / image;
        for group in 0..dims.groups {
            dims.with_columns(host, input, count, group, &mut |columns, stride| {
                host.gemm(Gemm {
                    m: count * rows,
                    n: dims.filters(),
                    k: dims.taps(),
                    a: columns,
                    a_strides: [stride, 1],
                    b: &weight[group * dims.filters() * dims.taps()..],
                    b_strides: [1, dims.taps()],
                    c: &mut output[group * dims.filters()..],
                    c_strides: [dims.k, 1],
                    accumulate: false,
                });
            });
        }
        if let Some(bias) = bias {
            for row in output.chunks_exact_mut(dims.k) {
                row.iter_mut().zip(bias).for_each(|(out, b)| *out += *b);
            }
        }
    });
}

/// `grad_input = col2im(grad_output weight)`, an image at a time.
pub(crate) fn grad_input<T: Real>(
    dims: &Dims,
    host: &dyn Host<T>,
    grad: &[T],
    weight: &[T],
    output: &mut [T],
) {
    let (rows, taps, filters) = (dims.p * dims.q, dims.taps(), dims.filters());
    host.for_each_chunk(output, dims.image(), &|n, grad_input| {
        grad_input.fill(T::zero());
        host.with_scratch(rows * taps, &mut |columns| {
            for group in 0..dims.groups {
                host.gemm(Gemm {
                    m: rows,
                    n: taps,
                    k: filters,
                    a: &grad[n * rows * dims.k + group * filters..],
                    a_strides: [dims.k, 1],
                    b: &weight[group * filters * taps..],
                    b_strides: [taps, 1],
                    c: columns,
                    c_strides: [taps, 1],
                    accumulate: false,
                });
                dims.col2im(columns, group, grad_input);
            }
        });
    });
}

/// `grad_weight = grad_output^T im2col(input)`, in slabs of images whose sums are added up in order.
pub(crate) fn grad_weight<T: Real>(
    dims: &Dims,
    host: &dyn Host<T>,
    grad: &[T],
    input: &[T],
    output: &mut [T],
) {
    let (rows, taps, filters) = (dims.p * dims.q, dims.taps(), dims.filters());
    let images = dims.images_per_chunk();
    let per_slab = dims.n.div_ceil(16).max(images);
    let slabs = dims.n.div_ceil(per_slab);
    let len = output.len();
    let mut partials = vec![T::zero(); slabs * len];
    host.for_each_chunk(&mut partials, len, &|slab, partial| {
        let last = ((slab + 1) * per_slab).min(dims.n);
        for first in (slab * per_slab..last).step_by(images) {
            let count = images.min(last - first);
            for group in 0..dims.groups {
                let images = &input[first * dims.image()..];
                dims.with_columns(host, images, count, group, &mut |columns, stride| {
                    host.gemm(Gemm {
                        m: filters,
                        n: taps,
                        k: count * rows,
                        a: &grad[first * rows * dims.k + group * filters..],
                        a_strides: [1, dims.k],
                        b: columns,
                        b_strides: [stride, 1],
                        c: &mut partial[group * filters * taps..],
                        c_strides: [taps, 1],
                        accumulate: true,
                    });
                });
            }
        }
    });
    sum_rows(host, &partials, len, output);
}
