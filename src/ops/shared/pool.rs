//! What `max_pool2d` and `avg_pool2d` have in common: a window that moves over each channel of an image.
//!
//! Letters: input `N C H W`, window `R S`, output `N C P Q`.

use super::super::{Pair, Window};
use crate::graph::Real;
use crate::tensor::Shape;

/// A window and whether one that hangs over the end counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
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
pub(crate) struct Dims {
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

    /// The taps of output pixel (p, q) that lie in the image, in row-major order. `inside` are those of a window that
    /// lies in the image as a whole ([`Dims::whole_window`]); they need not be found again.
    pub fn taps<'a, T: Real>(
        &self,
        [p, q]: [usize; 2],
        inside: &'a [Tap<T>],
        border: &'a mut Vec<Tap<T>>,
    ) -> (&'a [Tap<T>], usize) {
        let Window { kernel, stride, padding, dilation, .. } = self.window;
        let fits = |first: usize, kernel: usize, dilation: usize, padding: usize, size: usize| {
            first >= padding && first - padding + (kernel - 1) * dilation < size
        };
        let (row, column) = (p * stride.h, q * stride.w);
        if fits(row, kernel.h, dilation.h, padding.h, self.h)
            && fits(column, kernel.w, dilation.w, padding.w, self.w)
        {
            return (inside, ((row - padding.h) * self.w + column - padding.w) * self.c);
        }
        border.clear();
        for (tap, position) in self.positions().enumerate() {
            if let Some([row, column]) = self.window.pixel([p, q], position, [self.h, self.w]) {
                border.push(Tap { number: T::of(tap as f64), offset: (row * self.w + column) * self.c });
            }
        }
        (border, 0)
    }

    /// The taps of a window that lies in the image, relative to its first pixel.
    pub fn whole_window<T: Real>(&self) -> Vec<Tap<T>> {
        let dilation = self.window.dilation;
        let taps = self.positions().enumerate();
        let offset = |[r, s]: [usize; 2]| (r * dilation.h * self.w + s * dilation.w) * self.c;
        taps.map(|(tap, position)| Tap { number: T::of(tap as f64), offset: offset(position) }).collect()
    }

    fn positions(&self) -> impl Iterator<Item = [usize; 2]> {
        let kernel = self.window.kernel;
        (0..kernel.h).flat_map(move |r| (0..kernel.w).map(move |s| [r, s]))
    }

    /// The sizes of input and output as the shaders name them.
    pub fn uniforms(&self) -> [(&'static str, usize); 5] {
        [("c", self.c), ("h", self.h), ("w", self.w), ("p", self.p), ("q", self.q)]
    }
}

/// A pixel under a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap<T> {
    /// r S + s
    pub number: T,
    /// Where its channels begin in the image, from some first pixel on.
    pub offset: usize,
}
