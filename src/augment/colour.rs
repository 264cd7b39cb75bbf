//! Operations on the colours of an image of bytes: torchvision's, in whole numbers. `shaders/augment.wgsl` computes the
//! same ones.

use crate::tensor::vectorised;

/// One in the factors of blends: 2^14.
const ONE: i32 = 1 << 14;

/// One of the six parts of the colour circle.
const SECTOR: i32 = 1 << 16;

/// An operation; its number is the shader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum ColourOp {
    /// Nothing.
    Identity = 0,
    /// `adjust_brightness`: blended with black.
    Brightness = 1,
    /// `adjust_contrast`: blended with the mean grey.
    Contrast = 2,
    /// `adjust_saturation`: blended with its grey.
    Saturation = 3,
    /// `adjust_hue`.
    Hue = 4,
    /// `rgb_to_grayscale`.
    Greyscale = 5,
    /// `adjust_sharpness`: blended with its blur.
    Sharpness = 6,
    /// `posterize`.
    Posterize = 7,
    /// `solarize`.
    Solarize = 8,
    /// `autocontrast`.
    AutoContrast = 9,
    /// `equalize`.
    Equalize = 10,
}

/// An operation with its number: a factor of 2^14, a part of the colour circle of 6 * 2^16, a mask, a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// The operation.
    pub op: ColourOp,
    /// Its number.
    pub value: i32,
}

impl ColourOp {
    /// The operation of a number; none's is that of nothing.
    pub(super) fn of(number: i32) -> ColourOp {
        use ColourOp::*;
        const ALL: [ColourOp; 11] = [
            Identity,
            Brightness,
            Contrast,
            Saturation,
            Hue,
            Greyscale,
            Sharpness,
            Posterize,
            Solarize,
            AutoContrast,
            Equalize,
        ];
        usize::try_from(number).ok().and_then(|number| ALL.get(number)).copied().unwrap_or(Identity)
    }
}

impl Colour {
    /// Brightness, contrast, saturation or sharpness by a factor from 0 to 7.
    pub fn blend(op: ColourOp, factor: f64) -> Colour {
        Colour { op, value: libm::rint(factor.clamp(0.0, 7.0) * f64::from(ONE)) as i32 }
    }

    /// A shift of the hue by a share of the colour circle, from -0.5 to 0.5.
    pub fn hue(share: f64) -> Colour {
        let value = libm::rint(share.clamp(-0.5, 0.5) * f64::from(6 * SECTOR)) as i32;
        Colour { op: ColourOp::Hue, value: value.rem_euclid(6 * SECTOR) }
    }

    /// Leaves so many bits of each byte.
    pub fn posterize(bits: u32) -> Colour {
        Colour { op: ColourOp::Posterize, value: 0xff & !(0xff >> bits.min(8)) }
    }

    /// Inverts bytes from the threshold on.
    pub fn solarize(threshold: f64) -> Colour {
        Colour { op: ColourOp::Solarize, value: libm::ceil(threshold.clamp(0.0, 256.0)) as i32 }
    }

    /// Changes an image of 1 or 3 planes, `C, H, W`; `spare` is memory to work in.
    pub fn apply(self, planes: &mut [u8], image: [usize; 3], spare: &mut Vec<u8>) {
        let Colour { op, value } = self;
        let channels = image[0];
        match op {
            ColourOp::Identity => {}
            ColourOp::Brightness => each(planes, move |byte| blend(byte, 0, value)),
            ColourOp::Contrast => {
                let mean = mean_grey(planes, channels);
                each(planes, move |byte| blend(byte, mean, value));
            }
            ColourOp::Saturation => pixels(planes, channels, move |pixel| {
                let grey = 16 * grey(pixel);
                pixel.map(|byte| blend(byte, grey, value))
            }),
            ColourOp::Hue => pixels(planes, channels, move |pixel| shift_hue(pixel, value)),
            ColourOp::Greyscale => pixels(planes, channels, move |pixel| [grey(pixel) as u8; 3]),
            ColourOp::Sharpness => sharpen(planes, image, value, spare),
            ColourOp::Posterize => each(planes, move |byte| byte & value as u8),
            ColourOp::Solarize => {
                each(planes, move |byte| if i32::from(byte) >= value { 255 - byte } else { byte });
            }
            ColourOp::AutoContrast => tables(planes, channels, |histogram| {
                let held = || (0..256).filter(|&byte| histogram[byte] > 0);
                let (low, high) = (held().next().unwrap_or(0), held().next_back().unwrap_or(255));
                std::array::from_fn(|byte| match high - low {
                    0 => byte as u8,
                    span => (byte.saturating_sub(low) * 255 / span).min(255) as u8,
                })
            }),
            ColourOp::Equalize => tables(planes, channels, equalizing),
        }
    }
}

/// Changes each byte.
#[inline(always)]
fn each(bytes: &mut [u8], change: impl Fn(u8) -> u8) {
    vectorised(move || {
        for byte in bytes {
            *byte = change(*byte);
        }
    });
}

/// Changes pixels of three channels; grey ones stay as they are.
#[inline(always)]
fn pixels(planes: &mut [u8], channels: usize, change: impl Fn([u8; 3]) -> [u8; 3]) {
    if channels != 3 {
        return;
    }
    let (red, rest) = planes.split_at_mut(planes.len() / 3);
    let (green, blue) = rest.split_at_mut(red.len());
    vectorised(move || {
        for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
            [*red, *green, *blue] = change([*red, *green, *blue]);
        }
    });
}

/// `factor byte + (1 - factor) other`, rounded down, where `other` is in sixteenths.
#[inline(always)]
fn blend(byte: u8, other: i32, factor: i32) -> u8 {
    let sum = 16 * factor * i32::from(byte) + (ONE - factor) * other;
    (sum >> 18).clamp(0, 255) as u8
}

/// ITU-R 601 luma as torchvision has it, rounded down.
#[inline(always)]
fn grey([r, g, b]: [u8; 3]) -> i32 {
    (19589 * i32::from(r) + 38470 * i32::from(g) + 7471 * i32::from(b)) >> 16
}

/// The mean grey in sixteenths.
fn mean_grey(planes: &[u8], channels: usize) -> i32 {
    let count = planes.len() / channels;
    let mut sum = 0;
    vectorised(|| {
        if channels == 3 {
            let (red, rest) = planes.split_at(count);
            let (green, blue) = rest.split_at(count);
            for ((&red, &green), &blue) in red.iter().zip(green).zip(blue) {
                sum += grey([red, green, blue]) as u32;
            }
        } else {
            for &byte in planes {
                sum += u32::from(byte);
            }
        }
    });
    let count = count.max(1) as u32;
    (16 * (sum / count) + 16 * (sum % count) / count) as i32
}

/// A quotient up to 2^16 of whole numbers below 2^24 and 2^8, rounded down. It is made of floats, because vectors divide
/// no whole numbers, and exact all the same: f32 rounds by less than a quotient can be away from the next whole number.
#[inline(always)]
fn divided(dividend: i32, divisor: i32) -> i32 {
    /// The bits of a float from here to its double are a constant and its whole number.
    const WHOLE: f32 = (1 << 23) as f32;
    let quotient = dividend as f32 / divisor as f32;
    let nearest = (quotient + WHOLE).to_bits() as i32 - WHOLE.to_bits() as i32;
    nearest - i32::from(nearest as f32 > quotient)
}

/// By way of hue, saturation and value, of which the first is shifted.
#[inline(always)]
fn shift_hue(pixel: [u8; 3], shift: i32) -> [u8; 3] {
    let [r, g, b] = pixel.map(i32::from);
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let range = high - low;
    let (is_red, is_green) = (high == r, high == g);
    let apart = pick(is_red, g - b, pick(is_green, b - r, r - g));
    let circle = pick(is_red, 0, pick(is_green, 2 * SECTOR, 4 * SECTOR));
    let quotient = divided(apart.abs() * SECTOR, range.max(1));
    let turned = circle + pick(apart < 0, -quotient, quotient) + shift + 6 * SECTOR;
    let turned = turned - pick(turned >= 12 * SECTOR, 12 * SECTOR, 0);
    let hue = turned - pick(turned >= 6 * SECTOR, 6 * SECTOR, 0);
    let (sector, part) = (hue >> 16, hue & (SECTOR - 1));
    let share = (range * part + SECTOR / 2) >> 16;
    // What is neither high nor low rises and falls in turn. A channel is high in the two sectors about its colour and low in
    // the two opposite.
    let between = pick(sector & 1 == 0, low + share, high - share);
    let channel = |first: i32| {
        let at = sector + first;
        let away = (2 * (at - pick(at >= 6, 6, 0)) - 5).abs();
        pick(away == 5, high, pick(away == 3, between, low))
    };
    [channel(0), channel(4), channel(2)].map(|byte| byte as u8)
}

/// One of two numbers without a branch, which the compiler would make of these where it can, and then no vectors.
#[inline(always)]
fn pick(is: bool, a: i32, b: i32) -> i32 {
    b ^ (a ^ b) & -i32::from(is)
}

/// Blends with the weighted mean of a pixel and its neighbours; the border stays, as in torchvision.
fn sharpen(planes: &mut [u8], [_, height, width]: [usize; 3], factor: i32, spare: &mut Vec<u8>) {
    if height < 3 || width < 3 {
        return;
    }
    spare.clear();
    spare.extend_from_slice(planes);
    let mut sums = vec![0; width];
    let areas = planes.chunks_exact_mut(height * width).zip(spare.chunks_exact(height * width));
    for (plane, source) in areas {
        for y in 1..height - 1 {
            let lines = [y - 1, y, y + 1].map(|y| &source[y * width..][..width]);
            add_lines(lines, &mut sums);
            sharpen_line(&sums, &lines[1][1..], factor, &mut plane[y * width + 1..][..width - 2]);
        }
    }
}

/// Three rows added up.
fn add_lines([a, b, c]: [&[u8]; 3], sums: &mut [u16]) {
    vectorised(move || {
        for (((sum, a), b), c) in sums.iter_mut().zip(a).zip(b).zip(c) {
            *sum = u16::from(*a) + u16::from(*b) + u16::from(*c);
        }
    });
}

/// The inner pixels of a row, from the sums of it and the rows beside it.
fn sharpen_line(sums: &[u16], middle: &[u8], factor: i32, to: &mut [u8]) {
    let sums = sums.iter().zip(&sums[1..]).zip(&sums[2..]);
    let pixels = to.iter_mut().zip(middle).zip(sums);
    vectorised(move || {
        for ((to, middle), ((left, own), right)) in pixels {
            // The pixel counts five times, its eight neighbours once.
            let sum = left + own + right + 4 * u16::from(*middle);
            *to = blend(*middle, 16 * i32::from((2 * sum + 13) / 26), factor);
        }
    });
}

/// Looks bytes up in a table that follows from their channel's histogram.
fn tables(planes: &mut [u8], channels: usize, table: impl Fn(&[u32; 256]) -> [u8; 256]) {
    for plane in planes.chunks_exact_mut((planes.len() / channels).max(1)) {
        let table = table(&histogram(plane));
        plane.iter_mut().for_each(|byte| *byte = table[usize::from(*byte)]);
    }
}

/// How often each byte occurs. Neighbours are counted apart, so that equal ones need not wait for each other.
fn histogram(bytes: &[u8]) -> [u32; 256] {
    let mut counts = [[0; 256]; 4];
    let (fours, rest) = bytes.as_chunks::<4>();
    for four in fours {
        for (counts, &byte) in counts.iter_mut().zip(four) {
            counts[usize::from(byte)] += 1;
        }
    }
    rest.iter().for_each(|&byte| counts[0][usize::from(byte)] += 1);
    std::array::from_fn(|byte| counts.iter().map(|counts| counts[byte]).sum())
}

fn equalizing(histogram: &[u32; 256]) -> [u8; 256] {
    let total: u32 = histogram.iter().sum();
    let last = histogram.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
    let step = (total - last) / 255;
    let mut below = 0;
    std::array::from_fn(|byte| {
        let value = (below + step / 2).checked_div(step).unwrap_or(byte as u32);
        below += histogram[byte];
        value.min(255) as u8
    })
}
