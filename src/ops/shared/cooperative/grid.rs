//! Pixels as rows of a matrix: all samples in one list, with a halo of zeros, so that a tap of a window is a shift by a
//! constant number of rows.

use super::super::convolution::Dims;
use crate::graph::Scalar;

/// One axis of a grid. Place `i` of a phase holds pixel `i step + phase + origin` of the image, or a zero outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Places on the axis.
    pub(super) len: usize,
    /// By how many places the furthest tap shifts.
    pub(super) reach: usize,
    origin: i32,
    step: usize,
    /// Remainders, after division by the stride, that have a list of their own.
    pub(super) phases: usize,
    image: usize,
}

/// One axis of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowAxis {
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) taps: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) dilation: usize,
}

impl WindowAxis {
    /// A window of one tap that stays where it is.
    pub(super) const ONE: WindowAxis =
        WindowAxis { input: 1, output: 1, taps: 1, stride: 1, padding: 0, dilation: 1 };

    /// Down and across.
    pub(super) fn of(dims: &Dims) -> [WindowAxis; 2] {
        let super::super::window::Window { kernel, stride, padding, dilation, .. } = dims.window;
        let axis = |[input, output]: [usize; 2], [taps, stride, padding, dilation]: [usize; 4]| WindowAxis {
            input,
            output,
            taps,
            stride,
            padding,
            dilation,
        };
        [
            axis([dims.h, dims.p], [kernel.h, stride.h, padding.h, dilation.h]),
            axis([dims.w, dims.q], [kernel.w, stride.w, padding.w, dilation.w]),
        ]
    }

    fn reach(&self) -> usize {
        (self.taps - 1) * self.dilation / self.stride
    }

    /// The input, on places that are those of the output: tap `r` of output `p` is place `p + r dilation / stride` of
    /// phase `r dilation % stride`.
    pub(super) fn input(&self) -> Axis {
        let reach = self.reach();
        let span = self.output + reach;
        // Zeros at the beginning and at the end of the axis in every phase: the one may serve as the other.
        let before = self.padding / self.stride;
        let after = span.saturating_sub(1 + (self.input - 1 + self.padding) / self.stride);
        Axis {
            len: span - before.min(after).min(reach),
            reach,
            origin: -(self.padding as i32),
            step: self.stride,
            phases: self.stride.min((self.taps - 1) * self.dilation + 1),
            image: self.input,
        }
    }

    /// The output, or its gradient, on the places of [`WindowAxis::input`].
    pub(super) fn output(&self) -> Axis {
        Axis { origin: 0, step: 1, phases: 1, image: self.output, reach: 0, ..self.input() }
    }

    /// The input's first place that holds no padding only.
    fn first(&self) -> usize {
        self.padding / self.stride
    }

    /// The output's gradient, on places that are those of the input's gradient: tap `r` is place
    /// `place + reach - r dilation / stride`, if `r dilation % stride` is the phase.
    pub(super) fn grad_output(&self) -> Axis {
        let (reach, first) = (self.reach(), self.first());
        let span = (self.input - 1 + self.padding) / self.stride + 1 - first + reach;
        let origin = first as i32 - reach as i32;
        let before = usize::try_from(-origin).unwrap_or(0);
        let after = usize::try_from(span as i32 + origin - self.output as i32).unwrap_or(0);
        let len = span - before.min(after).min(reach);
        Axis { len, reach, origin, step: 1, phases: 1, image: self.output }
    }

    /// The input's gradient on the places of [`WindowAxis::grad_output`], in as many phases as the stride.
    pub(super) fn grad_input(&self) -> Axis {
        let origin = (self.stride * self.first()) as i32 - self.padding as i32;
        let (step, phases) = (self.stride, self.stride);
        Axis { origin, step, phases, image: self.input, reach: 0, ..self.grad_output() }
    }
}

/// A list of pixels: `samples` images, each of `h` by `w` places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) samples: usize,
    pub(super) h: Axis,
    pub(super) w: Axis,
}

impl Grid {
    /// The same view of both axes of a window.
    pub(super) fn of(samples: usize, window: &[WindowAxis; 2], view: fn(&WindowAxis) -> Axis) -> Grid {
        Grid { samples, h: view(&window[0]), w: view(&window[1]) }
    }

    /// The rows of a matrix, without a halo.
    pub(super) fn rows(rows: usize) -> Grid {
        let axis = |len| Axis { len, reach: 0, origin: 0, step: 1, phases: 1, image: len };
        Grid { samples: 1, h: axis(1), w: axis(rows) }
    }

    /// Pixels of a phase.
    pub(super) fn pixels(&self) -> usize {
        self.samples * self.h.len * self.w.len
    }

    pub(super) fn phases(&self) -> usize {
        self.h.phases * self.w.phases
    }

    /// Rows of a phase in memory: whole tiles, with what the furthest tap reaches from the last one.
    pub(super) fn stored(&self, tile: usize) -> usize {
        let reach = self.h.reach * self.w.len + self.w.reach;
        (self.pixels().next_multiple_of(tile) + reach).next_multiple_of(tile)
    }

    /// Whether the image as it stands is that already.
    pub(super) fn is_image(&self, tile: usize) -> bool {
        let same = |axis: &Axis| {
            *axis == Axis { len: axis.image, reach: 0, origin: 0, step: 1, phases: 1, image: axis.image }
        };
        same(&self.h) && same(&self.w) && self.pixels().is_multiple_of(tile)
    }

    pub(super) fn uniforms(&self) -> [(&'static str, Scalar); 11] {
        let Grid { samples, h, w } = self;
        [
            ("samples", (*samples).into()),
            ("grid_h", h.len.into()),
            ("grid_w", w.len.into()),
            ("phases_h", h.phases.into()),
            ("phases_w", w.phases.into()),
            ("image_h", h.image.into()),
            ("image_w", w.image.into()),
            ("step_h", h.step.into()),
            ("step_w", w.step.into()),
            ("origin_h", h.origin.into()),
            ("origin_w", w.origin.into()),
        ]
    }
}
