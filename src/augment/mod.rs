//! Augmentation of images of bytes: what may be done to a sample, what is done to it in an epoch, and how that is done.
//!
//! [`Augmentation`] holds the settings, under the names of `torchvision.transforms.v2`. [`Augmentation::draw`] turns
//! them into the [`Parameters`] of one sample, from random numbers that are keyed by seed, epoch and sample: a row of
//! whole numbers, the same for every device. The operator `augment` carries them out, on the GPU by
//! `shaders/augment.wgsl`, on the CPU by the functions here; both compute with whole numbers, so that they agree to the
//! bit.

mod affine;
mod auto;
mod colour;
mod draw;
mod geometry;
mod mixing;
mod parameters;
#[cfg(test)]
mod tests;

pub use auto::Auto;
pub use colour::{Colour, ColourOp};
pub use geometry::Pixels;
pub use mixing::{MIX_WORDS, Mixing, partner};
pub use parameters::{Edge, Parameters, Rectangle, WORDS};

/// What may be done to the samples of an epoch, in this order: crop, flips, affine, the geometry of `auto`; the colours
/// of `auto`, colour jitter, greyscale; normalisation; erasing and cutout.
///
/// All geometry is one matrix, so that an image is interpolated once; torchvision does so once per transform.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augmentation {
    /// Which part of the image is taken.
    pub crop: Crop,
    /// `RandomHorizontalFlip(p)`.
    pub horizontal_flip: f64,
    /// `RandomVerticalFlip(p)`.
    pub vertical_flip: f64,
    /// Flip half of the samples in even epochs and the other half in odd ones (airbench94).
    pub alternating_flip: bool,
    /// `RandomAffine`.
    pub affine: Affine,
    /// A policy that draws operations.
    pub auto: Option<Auto>,
    /// `ColorJitter`.
    pub jitter: Jitter,
    /// `RandomGrayscale(p)`.
    pub greyscale: f64,
    /// `RandomErasing`, with zeros (the mean, where pixels are normalised).
    pub erasing: Erasing,
    /// Side of a square that is erased, its centre anywhere in the image (Cutout); 0 for none.
    pub cutout: u32,
    /// Whether the nearest pixel is taken instead of interpolating linearly.
    pub nearest: bool,
}

/// Which part of an image is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Crop {
    /// The middle; the whole image where it has the wanted size.
    Centre,
    /// `RandomCrop(size, padding)`: a part as large as the image, of the image with `padding` pixels around it.
    Padded {
        /// Pixels on each side.
        padding: u32,
        /// Whether the image is reflected there; else it is black.
        reflect: bool,
    },
    /// `RandomResizedCrop(size, scale, ratio)`, linear and without antialiasing.
    Resized {
        /// Smallest and largest share of the image's area.
        scale: [f64; 2],
        /// Smallest and largest width over height.
        ratio: [f64; 2],
    },
}

/// `RandomAffine(degrees, translate, scale, shear)` about the middle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Largest rotation to either side.
    pub degrees: f64,
    /// Largest shift to either side, as shares of width and height.
    pub translate: [f64; 2],
    /// Smallest and largest factor.
    pub scale: [f64; 2],
    /// Largest horizontal shear to either side, in degrees.
    pub shear: f64,
}

/// `ColorJitter(brightness, contrast, saturation, hue)`, in random order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Jitter {
    /// The factor is within 1 +- this, and not negative.
    pub brightness: f64,
    /// The factor is within 1 +- this, and not negative.
    pub contrast: f64,
    /// The factor is within 1 +- this, and not negative.
    pub saturation: f64,
    /// The hue is shifted by up to this share of the colour circle to either side, 0.5 at most.
    pub hue: f64,
}

/// `RandomErasing(p, scale, ratio)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Erasing {
    /// Probability.
    pub p: f64,
    /// Smallest and largest share of the image's area.
    pub scale: [f64; 2],
    /// Smallest and largest height over width.
    pub ratio: [f64; 2],
}

impl Affine {
    /// No change.
    pub const NONE: Affine = Affine { degrees: 0.0, translate: [0.0; 2], scale: [1.0; 2], shear: 0.0 };
}

impl Erasing {
    /// torchvision's defaults, but never.
    pub const NONE: Erasing = Erasing { p: 0.0, scale: [0.02, 0.33], ratio: [0.3, 3.3] };
}

impl Augmentation {
    /// No change.
    pub const NONE: Augmentation = Augmentation {
        crop: Crop::Centre,
        horizontal_flip: 0.0,
        vertical_flip: 0.0,
        alternating_flip: false,
        affine: Affine::NONE,
        auto: None,
        jitter: Jitter { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0 },
        greyscale: 0.0,
        erasing: Erasing::NONE,
        cutout: 0,
        nearest: false,
    };

    /// Whether colours may change, which takes passes over the image.
    pub fn changes_colours(&self) -> bool {
        self.auto.is_some() || self.jitter != Jitter::default() || self.greyscale > 0.0
    }
}

impl Default for Augmentation {
    fn default() -> Augmentation {
        Augmentation::NONE
    }
}
