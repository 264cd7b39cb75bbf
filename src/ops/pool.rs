//! What `max_pool2d` and `avg_pool2d` have in common: a window that moves over each channel of an image.
//!
//! Letters: input `N C H W`, window `R S`, output `N C P Q`.

use super::{Pair, Window};
use crate::tensor::Shape;

/// A window and whether one that hangs over the end counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    pub window: Window,
    pub ceil_mode: bool,
}

impl Pool {
    /// A pool with PyTorch's arguments; without `stride` windows lie side by side.
    pub fn new(kernel: Pair, stride: Option<Pair>, padding: Pair, dilation: Pair, ceil_mode: bool) -> Pool {
        let stride = stride.unwrap_or(kernel);
        Pool { window: Window { kernel, stride, padding, padding_end: padding, dilation }, ceil_mode }
    }

    /// The output's shape, or what does not fit.
    pub fn output(&self, input: &Shape) -> Result<Shape, String> {
        let Some([n, c, h, w]) = input.as_4d() else {
            return Err(format!("input must be [N, C, H, W], it is {input}"));
        };
        let Window { kernel, padding, .. } = self.window;
        if padding.h > kernel.h / 2 || padding.w > kernel.w / 2 {
            let (padding, kernel) = ([padding.h, padding.w], [kernel.h, kernel.w]);
            return Err(format!(
                "padding {padding:?} must be at most half of kernel_size {kernel:?} ({input})"
            ));
        }
        let rounded = self.window.output_rounded(h, w, self.ceil_mode);
        let [p, q] = rounded.map_err(|reason| format!("{reason} ({input})"))?;
        Ok([n, c, p, q].into())
    }

    /// The window as the shaders name it.
    pub fn uniforms(&self) -> [(&'static str, usize); 6] {
        let Window { kernel, stride, padding, .. } = self.window;
        [
            ("r", kernel.h),
            ("s", kernel.w),
            ("stride_h", stride.h),
            ("stride_w", stride.w),
            ("padding_h", padding.h),
            ("padding_w", padding.w),
        ]
    }

    /// The sizes for an input that [`Pool::output`] has accepted.
    pub fn dims(&self, input: &Shape) -> Dims {
        let [_, c, h, w] = input.as_4d().expect("the shape rule has checked the rank");
        let rounded = self.window.output_rounded(h, w, self.ceil_mode);
        let [p, q] = rounded.expect("the shape rule has checked the window");
        Dims { c, h, w, p, q, window: self.window }
    }
}

/// The sizes of one pooling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dims {
    pub c: usize,
    pub h: usize,
    pub w: usize,
    pub p: usize,
    pub q: usize,
    pub window: Window,
}

impl Dims {
    /// Elements of one input image.
    pub fn image(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Elements of one row of output pixels.
    pub fn row(&self) -> usize {
        self.q * self.c
    }

    /// The taps `(r S + s, h W + w)` of output pixel (p, q) that lie in the image, in row-major order.
    pub fn taps(&self, p: usize, q: usize) -> impl Iterator<Item = (usize, usize)> {
        let Dims { h, w, window, .. } = *self;
        let positions = (0..window.kernel.h).flat_map(move |r| (0..window.kernel.w).map(move |s| [r, s]));
        positions.enumerate().filter_map(move |(tap, position)| {
            let pixel = window.pixel([p, q], position, [h, w])?;
            Some((tap, pixel[0] * w + pixel[1]))
        })
    }

    /// The sizes of input and output as the shaders name them.
    pub fn uniforms(&self) -> [(&'static str, usize); 5] {
        [("c", self.c), ("h", self.h), ("w", self.w), ("p", self.p), ("q", self.q)]
    }
}
