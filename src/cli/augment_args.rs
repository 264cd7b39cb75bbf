//! The flags of a recipe's table `[augment]`.

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use super::train_args::pair;
use crate::train::recipe::{AugmentRecipe, AutoName, Interpolation, PaddingMode};

/// A flag for each setting of an [`AugmentRecipe`].
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Augmentation (in a recipe: the table [augment])")]
pub struct AugmentFlags {
    /// Crop at random from the image with so many pixels around it
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    pub crop_padding: Option<u32>,
    /// What those pixels are [default: constant]
    #[arg(long, value_name = "NAME")]
    pub padding_mode: Option<PaddingMode>,
    /// Crop a part of the area within these shares, resized to the image's size, such as 0.08,1
    #[arg(long, value_name = "LOW,HIGH", value_parser = pair, allow_hyphen_values = true)]
    pub resized_crop_scale: Option<[f64; 2]>,
    /// Width over height of that part [default: 0.75,1.333]
    #[arg(long, value_name = "LOW,HIGH", value_parser = pair, allow_hyphen_values = true)]
    pub resized_crop_ratio: Option<[f64; 2]>,
    /// Probability of a horizontal flip [default: 0]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub horizontal_flip: Option<f64>,
    /// Probability of a vertical flip [default: 0]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub vertical_flip: Option<f64>,
    /// Flip half of the images in even epochs and the other half in odd ones
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub alternating_flip: Option<bool>,
    /// Turn by up to so many degrees to either side [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub degrees: Option<f64>,
    /// Shift by up to these shares of width and height [default: 0,0]
    #[arg(long, value_name = "X,Y", value_parser = pair, allow_hyphen_values = true)]
    pub translate: Option<[f64; 2]>,
    /// Scale by a factor within these [default: 1,1]
    #[arg(long, value_name = "LOW,HIGH", value_parser = pair, allow_hyphen_values = true)]
    pub scale: Option<[f64; 2]>,
    /// Shear by up to so many degrees to either side [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub shear: Option<f64>,
    /// How pixels between pixels are found [default: bilinear]
    #[arg(long, value_name = "NAME")]
    pub interpolation: Option<Interpolation>,
    /// Draw operations by a policy
    #[arg(long, value_name = "NAME")]
    pub auto_augment: Option<AutoName>,
    /// rand-augment: operations per image [default: 2]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub num_ops: Option<u32>,
    /// rand-augment: magnitude of each, from 0 to 30 [default: 9]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub magnitude: Option<u32>,
    /// Change the brightness by a factor within 1 +- X [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub brightness: Option<f64>,
    /// Change the contrast by a factor within 1 +- X [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub contrast: Option<f64>,
    /// Change the saturation by a factor within 1 +- X [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub saturation: Option<f64>,
    /// Shift the hue by up to this share of the colour circle, 0.5 at most [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub hue: Option<f64>,
    /// Probability that an image becomes grey [default: 0]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub greyscale: Option<f64>,
    /// Probability that a rectangle is erased [default: 0]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub erasing: Option<f64>,
    /// Its share of the area [default: 0.02,0.33]
    #[arg(long, value_name = "LOW,HIGH", value_parser = pair, allow_hyphen_values = true)]
    pub erasing_scale: Option<[f64; 2]>,
    /// Its height over its width [default: 0.3,3.3]
    #[arg(long, value_name = "LOW,HIGH", value_parser = pair, allow_hyphen_values = true)]
    pub erasing_ratio: Option<[f64; 2]>,
    /// Erase a square of this side anywhere
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    pub cutout: Option<u32>,
    /// Mix images in pairs, shares from Beta(X, X) [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub mixup_alpha: Option<f64>,
    /// Put a box of one image into another, its area from Beta(X, X) [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub cutmix_alpha: Option<f64>,
    /// Probability that a batch is mixed [default: 1]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub mixup_prob: Option<f64>,
    /// Probability of cutmix where both are on [default: 0.5]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub switch_prob: Option<f64>,
}

impl AugmentFlags {
    /// The table, if any flag is given.
    pub(super) fn table(self) -> Option<AugmentRecipe> {
        let table = AugmentRecipe {
            crop_padding: self.crop_padding,
            padding_mode: self.padding_mode,
            resized_crop_scale: self.resized_crop_scale,
            resized_crop_ratio: self.resized_crop_ratio,
            horizontal_flip: self.horizontal_flip,
            vertical_flip: self.vertical_flip,
            alternating_flip: self.alternating_flip,
            degrees: self.degrees,
            translate: self.translate,
            scale: self.scale,
            shear: self.shear,
            interpolation: self.interpolation,
            auto_augment: self.auto_augment,
            num_ops: self.num_ops,
            magnitude: self.magnitude,
            brightness: self.brightness,
            contrast: self.contrast,
            saturation: self.saturation,
            hue: self.hue,
            greyscale: self.greyscale,
            erasing: self.erasing,
            erasing_scale: self.erasing_scale,
            erasing_ratio: self.erasing_ratio,
            cutout: self.cutout,
            mixup_alpha: self.mixup_alpha,
            cutmix_alpha: self.cutmix_alpha,
            mixup_prob: self.mixup_prob,
            switch_prob: self.switch_prob,
        };
        (table != AugmentRecipe::default()).then_some(table)
    }
}

macro_rules! named_values {
    ($($type:ty),*) => {$(
        impl ValueEnum for $type {
            fn value_variants<'a>() -> &'a [$type] {
                &<$type>::ALL
            }
            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(PossibleValue::new(self.name()))
            }
        }
    )*};
}

named_values!(PaddingMode, Interpolation, AutoName);
