//! Operations on the colours of an image of bytes: torchvision's, in whole numbers. `shaders/augment.wgsl` computes the
//! same ones.

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

    /// Changes an image of `H, W, C` with 1 or 3 channels; `spare` is memory to work in.
    pub fn apply(self, bytes: &mut [u8], image: [usize; 3], spare: &mut Vec<u8>) {
        let Colour { op, value } = self;
        let channels = image[0];
        match op {
            ColourOp::Identity => {}
            ColourOp::Brightness => each(bytes, |byte| blend(byte, 0, value)),
            ColourOp::Contrast => {
                let mean = mean_grey(bytes, channels);
                each(bytes, |byte| blend(byte, mean, value));
            }
            ColourOp::Saturation => rgb(bytes, channels, |pixel| {
                let grey = 16 * grey(pixel);
                pixel.map(|byte| blend(byte, grey, value))
            }),
            ColourOp::Hue => rgb(bytes, channels, |pixel| shift_hue(pixel, value)),
            ColourOp::Greyscale => rgb(bytes, channels, |pixel| [grey(pixel) as u8; 3]),
            ColourOp::Sharpness => sharpen(bytes, image, value, spare),
            ColourOp::Posterize => each(bytes, |byte| byte & value as u8),
            ColourOp::Solarize => {
                each(bytes, |byte| if i32::from(byte) >= value { 255 - byte } else { byte })
            }
            ColourOp::AutoContrast => tables(bytes, channels, |histogram| {
                let held = || (0..256).filter(|&byte| histogram[byte] > 0);
                let (low, high) = (held().next().unwrap_or(0), held().next_back().unwrap_or(255));
                std::array::from_fn(|byte| match high - low {
                    0 => byte as u8,
                    span => (byte.saturating_sub(low) * 255 / span).min(255) as u8,
                })
            }),
            ColourOp::Equalize => tables(bytes, channels, equalizing),
        }
    }
}

fn each(bytes: &mut [u8], change: impl Fn(u8) -> u8) {
    bytes.iter_mut().for_each(|byte| *byte = change(*byte));
}

/// Changes pixels of three channels; grey ones stay as they are.
fn rgb(bytes: &mut [u8], channels: usize, change: impl Fn([u8; 3]) -> [u8; 3]) {
    if channels == 3 {
        bytes.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| *pixel = change(*pixel));
    }
}

/// `factor byte + (1 - factor) other`, rounded down, where `other` is in sixteenths.
fn blend(byte: u8, other: i32, factor: i32) -> u8 {
    let sum = 16 * factor * i32::from(byte) + (ONE - factor) * other;
    (sum >> 18).clamp(0, 255) as u8
}

/// ITU-R 601 luma as torchvision has it, rounded down.
fn grey([r, g, b]: [u8; 3]) -> i32 {
    (19589 * i32::from(r) + 38470 * i32::from(g) + 7471 * i32::from(b)) >> 16
}

/// The mean grey in sixteenths.
fn mean_grey(bytes: &[u8], channels: usize) -> i32 {
    let (sum, count): (u32, usize) = match channels {
        3 => (bytes.as_chunks::<3>().0.iter().map(|&pixel| grey(pixel) as u32).sum(), bytes.len() / 3),
        _ => (bytes.iter().map(|&byte| u32::from(byte)).sum(), bytes.len()),
    };
    let count = count.max(1) as u32;
    (16 * (sum / count) + 16 * (sum % count) / count) as i32
}

/// By way of hue, saturation and value, of which the first is shifted.
fn shift_hue(pixel: [u8; 3], shift: i32) -> [u8; 3] {
    let [r, g, b] = pixel.map(i32::from);
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let range = high - low;
    if range == 0 {
        return pixel;
    }
    let hue = if high == r {
        (g - b) * SECTOR / range
    } else if high == g {
        2 * SECTOR + (b - r) * SECTOR / range
    } else {
        4 * SECTOR + (r - g) * SECTOR / range
    };
    let hue = (hue + shift + 6 * SECTOR) % (6 * SECTOR);
    let (sector, part) = (hue / SECTOR, hue % SECTOR);
    let falling = high - ((range * part + SECTOR / 2) >> 16);
    let rising = low + ((range * part + SECTOR / 2) >> 16);
    let changed = match sector {
        0 => [high, rising, low],
        1 => [falling, high, low],
        2 => [low, high, rising],
        3 => [low, falling, high],
        4 => [rising, low, high],
        _ => [high, low, falling],
    };
    changed.map(|byte| byte as u8)
}

/// Blends with the weighted mean of a pixel and its neighbours; the border stays, as in torchvision.
fn sharpen(bytes: &mut [u8], [channels, height, width]: [usize; 3], factor: i32, spare: &mut Vec<u8>) {
    spare.clear();
    spare.extend_from_slice(bytes);
    let row = width * channels;
    for y in 1..height.saturating_sub(1) {
        for at in y * row + channels..(y + 1) * row - channels.min(row) {
            let mut sum = 4 * i32::from(spare[at]);
            for line in [at - row, at, at + row] {
                sum += [line - channels, line, line + channels]
                    .map(|near| i32::from(spare[near]))
                    .iter()
                    .sum::<i32>();
            }
            bytes[at] = blend(spare[at], 16 * ((2 * sum + 13) / 26), factor);
        }
    }
}

/// Looks bytes up in a table that follows from their channel's histogram.
fn tables(bytes: &mut [u8], channels: usize, table: impl Fn(&[u32; 256]) -> [u8; 256]) {
    for channel in 0..channels {
        let mut histogram = [0; 256];
        bytes[channel..].iter().step_by(channels).for_each(|&byte| histogram[usize::from(byte)] += 1);
        let table = table(&histogram);
        bytes[channel..].iter_mut().step_by(channels).for_each(|byte| *byte = table[usize::from(*byte)]);
    }
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
