//! The sizes of a convolution, for its kernels on both executors.

use super::super::Window;
use super::super::conv2d::Convolution;
use crate::tensor::Shape;

/// The greatest common divisor.
pub(crate) fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

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

    /// Filters of a group.
    pub(crate) fn filters(&self) -> usize {
        self.k / self.groups
    }

    /// Elements of one filter: R S C/groups, the depth of the GEMM.
    pub(crate) fn taps(&self) -> usize {
        self.window.kernel.h * self.window.kernel.w * self.c / self.groups
    }

    /// Whether each channel has a filter of its own.
    pub(crate) fn depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.c && self.groups == self.k
    }

    /// Channels of a group: C/groups.
    pub(crate) fn depth(&self) -> usize {
        self.c / self.groups
    }

    /// The same for a window of one pixel, whose images are then joined and their pixels put into one row each: any cut
    /// of the pixels into rows gives the same.
    pub(crate) fn flattened(&self) -> Dims {
        /// Pixels that keep a product of matrices busy.
        const PIXELS: usize = 64;
        /// Pixels beyond which rows are long enough.
        const MANY: usize = 1024;
        let pixels = self.h * self.w;
        if self.window != Window::pixel_by_pixel() || pixels > MANY {
            return *self;
        }
        let joined = (1..=self.n).find(|images| self.n.is_multiple_of(*images) && images * pixels >= PIXELS);
        let joined = joined.unwrap_or(self.n);
        let row = joined * pixels;
        Dims { n: self.n / joined, h: 1, w: row, p: 1, q: row, ..*self }
    }
}
