//! What `max_pool2d` and `avg_pool2d` have in common: a window that moves over each channel of an image.
//!
//! Letters: input `N C H W`, window `R S`, output `N C P Q`.

use std::ops::Range;

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

    /// The sizes of input and output as the shaders name them.
    pub fn uniforms(&self) -> [(&'static str, usize); 5] {
        [("c", self.c), ("h", self.h), ("w", self.w), ("p", self.p), ("q", self.q)]
    }
}

/// The taps of each window, for CPU kernels.
pub(crate) struct Windows<'a, T> {
    dims: &'a Dims,
    /// The outputs, by rows and by columns, whose windows lie in the image.
    inside: [Range<usize>; 2],
    /// The taps of these, from the window's first pixel on.
    whole: Vec<Tap<T>>,
    /// The taps of the last window that does not.
    border: Vec<Tap<T>>,
}

impl<'a, T: Real> Windows<'a, T> {
    pub fn new(dims: &'a Dims) -> Windows<'a, T> {
        let Window { kernel, stride, padding, dilation, .. } = dims.window;
        let inside = |count: usize, size: usize, [kernel, stride, padding, dilation]: [usize; 4]| {
            let past = (size + padding).checked_sub((kernel - 1) * dilation + 1);
            let end = past.map_or(0, |last| last / stride + 1).min(count);
            padding.div_ceil(stride).min(end)..end
        };
        let inside = [
            inside(dims.p, dims.h, [kernel.h, stride.h, padding.h, dilation.h]),
            inside(dims.q, dims.w, [kernel.w, stride.w, padding.w, dilation.w]),
        ];
        let offset = |[r, s]: [usize; 2]| (r * dilation.h * dims.w + s * dilation.w) * dims.c;
        let whole = positions(kernel).enumerate();
        let whole = whole.map(|(tap, position)| Tap { number: T::of(tap as f64), offset: offset(position) });
        Windows { dims, inside, whole: whole.collect(), border: vec![] }
    }

    /// The taps of output pixel (p, q) that lie in the image, in row-major order, and where they are counted from.
    #[inline(always)]
    pub fn at(&mut self, [p, q]: [usize; 2]) -> (&[Tap<T>], usize) {
        let Window { stride, padding, .. } = self.dims.window;
        if self.inside[0].contains(&p) && self.inside[1].contains(&q) {
            let [row, column] = [p * stride.h - padding.h, q * stride.w - padding.w];
            return (&self.whole, (row * self.dims.w + column) * self.dims.c);
        }
        self.find_border([p, q]);
        (&self.border, 0)
    }

    #[inline(never)]
    fn find_border(&mut self, output: [usize; 2]) {
        let Dims { window, h, w, c, .. } = *self.dims;
        let taps = positions(window.kernel).enumerate().filter_map(|(tap, position)| {
            let [row, column] = window.pixel(output, position, [h, w])?;
            Some(Tap { number: T::of(tap as f64), offset: (row * w + column) * c })
        });
        self.border.clear();
        self.border.extend(taps);
    }
}

/// All (r, s) of a window.
fn positions(kernel: Pair) -> impl Iterator<Item = [usize; 2]> {
    (0..kernel.h).flat_map(move |r| (0..kernel.w).map(move |s| [r, s]))
}

/// A pixel under a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap<T> {
    /// r S + s
    pub number: T,
    /// Where its channels begin in the image, from some first pixel on.
    pub offset: usize,
}
