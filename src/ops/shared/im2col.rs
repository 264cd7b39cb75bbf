//! im2col on the CPU: the pixels under each tap of each window as the rows of a matrix, so that a convolution is a
//! product of matrices. On the GPU the same is index arithmetic (`shaders/conv2d.wgsl`).

use super::super::conv2d::Convolution;
use super::super::{Pair, Window};
use crate::graph::{Host, Real};
use crate::tensor::Shape;

/// The sizes of one convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dims {
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) k: usize,
    pub(crate) p: usize,
    pub(crate) q: usize,
    pub(crate) groups: usize,
    pub(crate) window: Window,
}

impl Dims {
    pub(crate) fn new(convolution: &Convolution, input: &Shape, weight: &Shape) -> Dims {
        let [n, c, h, w] = input.as_4d().expect("the shape rule has checked the rank");
        let [p, q] = convolution.window.output(h, w).expect("the shape rule has checked the window");
        Dims { n, c, h, w, k: weight[0], p, q, groups: convolution.groups, window: convolution.window }
    }

    pub(crate) fn uniforms(&self) -> [(&'static str, usize); 16] {
        let Window { kernel, stride, padding, dilation, .. } = self.window;
        [
            ("n", self.n),
            ("c", self.c),
            ("h", self.h),
            ("w", self.w),
            ("k", self.k),
            ("r", kernel.h),
            ("s", kernel.w),
            ("p", self.p),
            ("q", self.q),
            ("stride_h", stride.h),
            ("stride_w", stride.w),
            ("padding_h", padding.h),
            ("padding_w", padding.w),
            ("dilation_h", dilation.h),
            ("dilation_w", dilation.w),
            ("groups", self.groups),
        ]
    }

    /// Elements of one input image.
    pub(crate) fn image(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Channels of a group.
    pub(crate) fn channels(&self) -> usize {
        self.c / self.groups
    }

    /// Filters of a group.
    pub(crate) fn filters(&self) -> usize {
        self.k / self.groups
    }

    /// Elements of one filter: R S C/groups, the depth of the GEMM.
    pub(crate) fn taps(&self) -> usize {
        self.window.kernel.h * self.window.kernel.w * self.c / self.groups
    }

    /// Images that make up one matrix of columns: enough rows to keep the GEMM busy, by shape only.
    pub(crate) fn images_per_chunk(&self) -> usize {
        (512 / (self.p * self.q)).clamp(1, self.n.div_ceil(4).max(1))
    }

    /// Calls `work` with the im2col matrix of `count` images, rows N P Q, columns R S C/groups, and its row stride.
    pub(crate) fn with_columns<T: Real>(
        &self,
        host: &dyn Host<T>,
        images: &[T],
        count: usize,
        group: usize,
        work: &mut dyn FnMut(&[T], usize),
    ) {
        let Window { kernel, stride, padding, padding_end, .. } = self.window;
        let one = Pair::one();
        if kernel == one && stride == one && padding == Pair::zero() && padding_end == Pair::zero() {
            return work(&images[group * self.c / self.groups..], self.c);
        }
        let taps = self.taps();
        host.with_scratch(count * self.p * self.q * taps, &mut |columns| {
            for (n, image) in columns.chunks_exact_mut(self.p * self.q * taps).enumerate() {
                self.im2col(&images[n * self.image()..][..self.image()], group, image);
            }
            work(columns, taps);
        });
    }

    fn im2col<T: Real>(&self, image: &[T], group: usize, columns: &mut [T]) {
        let channels = self.c / self.groups;
        let mut targets = columns.chunks_exact_mut(channels);
        self.for_each_tap(|source| {
            let target = targets.next().expect("one block of channels per tap");
            match source {
                Some(pixel) => {
                    target.copy_from_slice(&image[pixel * self.c + group * channels..][..channels])
                }
                None => target.fill(T::zero()),
            }
        });
    }

    pub(crate) fn col2im<T: Real>(&self, columns: &[T], group: usize, image: &mut [T]) {
        let channels = self.c / self.groups;
        let mut sources = columns.chunks_exact(channels);
        self.for_each_tap(|target| {
            let source = sources.next().expect("one block of channels per tap");
            if let Some(pixel) = target {
                let target = &mut image[pixel * self.c + group * channels..][..channels];
                target.iter_mut().zip(source).for_each(|(sum, value)| *sum += *value);
            }
        });
    }

    /// Visits, for each output pixel and tap in order, the pixel of the image under it (`None` for padding).
    fn for_each_tap(&self, mut visit: impl FnMut(Option<usize>)) {
        for p in 0..self.p {
            for q in 0..self.q {
                for r in 0..self.window.kernel.h {
                    for s in 0..self.window.kernel.w {
                        let pixel = self.window.pixel([p, q], [r, s], [self.h, self.w]);
                        visit(pixel.map(|[row, column]| row * self.w + column));
                    }
                }
            }
        }
    }
}
