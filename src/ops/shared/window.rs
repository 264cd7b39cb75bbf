use serde::{Deserialize, Serialize};

/// A spatial argument: `3` for both directions or `[3, 5]` for height and width, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PairForm", into = "PairForm")]
pub struct Pair {
    /// Along the height.
    pub h: usize,
    /// Along the width.
    pub w: usize,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected an integer or [h, w]")]
enum PairForm {
    Both(usize),
    Each([usize; 2]),
}

impl From<PairForm> for Pair {
    fn from(form: PairForm) -> Pair {
        match form {
            PairForm::Both(value) => value.into(),
            PairForm::Each(values) => values.into(),
        }
    }
}

impl From<Pair> for PairForm {
    fn from(pair: Pair) -> PairForm {
        if pair.h == pair.w { PairForm::Both(pair.h) } else { PairForm::Each([pair.h, pair.w]) }
    }
}

impl From<usize> for Pair {
    fn from(value: usize) -> Pair {
        Pair { h: value, w: value }
    }
}

impl From<[usize; 2]> for Pair {
    fn from([h, w]: [usize; 2]) -> Pair {
        Pair { h, w }
    }
}

impl Pair {
    /// (1, 1)
    pub fn one() -> Pair {
        1.into()
    }

    /// (0, 0)
    pub fn zero() -> Pair {
        0.into()
    }
}

/// Padding of a convolution: zeros on both sides, on each side, or `"same"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected an integer, [h, w], [top, left, bottom, right] or \"same\"")]
pub enum Padding {
    /// As many zeros on both sides.
    Explicit(Pair),
    /// Zeros above, to the left, below and to the right.
    Sides([usize; 4]),
    /// The output is as large as the input; an odd rest is added at the end, as in PyTorch.
    Named(Same),
}

/// The word `"same"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Same {
    /// The only one.
    Same,
}

/// How a window moves over an image: what convolutions and pools have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Size of the window, R and S.
    pub kernel: Pair,
    /// Steps between windows.
    pub stride: Pair,
    /// Padding above and to the left.
    pub padding: Pair,
    /// Padding below and to the right.
    pub padding_end: Pair,
    /// Distance between the window's elements.
    pub dilation: Pair,
}

impl Window {
    /// The window of a 1x1 convolution: each pixel by itself.
    pub fn pixel_by_pixel() -> Window {
        let (one, zero) = (Pair::one(), Pair::zero());
        Window { kernel: one, stride: one, padding: zero, padding_end: zero, dilation: one }
    }

    /// The output's height and width, P and Q, or why there is none.
    pub fn output(&self, h: usize, w: usize) -> Result<[usize; 2], String> {
        self.output_rounded(h, w, false)
    }

    /// The same for pools: with `ceil_mode`, a last window that hangs over the end counts, if it starts inside the input
    /// or the padding before it.
    pub fn output_rounded(&self, h: usize, w: usize, ceil_mode: bool) -> Result<[usize; 2], String> {
        let along = |side: &str, size: usize, kernel, stride, dilation, [before, after]: [usize; 2]| {
            if kernel == 0 || stride == 0 || dilation == 0 {
                return Err("kernel_size, stride and dilation must be at least 1".to_string());
            }
            let span = dilation * (kernel - 1) + 1;
            let padded = size + before + after;
            let overhang = if ceil_mode { stride - 1 } else { 0 };
            if padded + overhang < span {
                return Err(format!(
                    "the window spans {span} pixels, but the input's {side} is {padded} with padding"
                ));
            }
            let last = (padded + overhang - span) / stride;
            let outside = ceil_mode && last * stride >= size + before;
            Ok(if outside { last } else { last + 1 })
        };
        let Window { kernel, stride, padding, padding_end, dilation } = self;
        Ok([
            along("height", h, kernel.h, stride.h, dilation.h, [padding.h, padding_end.h])?,
            along("width", w, kernel.w, stride.w, dilation.w, [padding.w, padding_end.w])?,
        ])
    }

    /// The pixel under tap `(r, s)` of output `(p, q)`, unless it is padding.
    pub fn pixel(&self, [p, q]: [usize; 2], [r, s]: [usize; 2], [h, w]: [usize; 2]) -> Option<[usize; 2]> {
        let row = (p * self.stride.h + r * self.dilation.h).checked_sub(self.padding.h)?;
        let column = (q * self.stride.w + s * self.dilation.w).checked_sub(self.padding.w)?;
        (row < h && column < w).then_some([row, column])
    }
}
