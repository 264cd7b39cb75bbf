//! The table `[augment]` of a recipe: what is done to training samples. Names are those of `torchvision.transforms.v2`
//! and, for mixing, timm's.

use super::range::{count, fail, not_negative, positive, require, within_one};
use super::theme::{names, pair, theme};
use crate::augment::{Affine, Augmentation, Auto, Crop, Erasing, Jitter, Mixing};
use crate::error::Result;

theme! {
/// Augmentation; what is left open is not done.
#[command(next_help_heading = "Augmentation (in a recipe: the table [augment])")]
pub struct AugmentSettings {
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
}

names! { "padding mode",
/// What lies around an image, by its name in flags and recipes.
pub enum PaddingMode {
    /// Black.
    #[default]
    Constant = "constant",
    /// The image, mirrored at its outermost pixels.
    Reflect = "reflect",
}
}

names! { "interpolation",
/// How pixels between pixels are found, by its name in flags and recipes.
pub enum Interpolation {
    /// From the four around.
    #[default]
    Bilinear = "bilinear",
    /// From the nearest.
    Nearest = "nearest",
}
}

names! { "policy",
/// A policy, by its name in flags and recipes.
pub enum AutoName {
    /// `TrivialAugmentWide`.
    #[default]
    TrivialAugmentWide = "trivial-augment-wide",
    /// `RandAugment`.
    RandAugment = "rand-augment",
}
}

impl AugmentSettings {
    /// Drops what belongs to a crop or policy that `flags` replace.
    pub(super) fn yield_to(&mut self, flags: &AugmentSettings) {
        if flags.crop_padding.is_some() {
            (self.resized_crop_scale, self.resized_crop_ratio) = (None, None);
        }
        if flags.resized_crop_scale.is_some() {
            (self.crop_padding, self.padding_mode) = (None, None);
        }
        if flags.auto_augment.is_some_and(|auto| auto != AutoName::RandAugment) {
            (self.num_ops, self.magnitude) = (None, None);
        }
    }

    /// What is done to samples, all checked.
    pub fn augmentation(&self) -> Result<Augmentation> {
        self.check_fit()?;
        let flip = |flag, p: Option<f64>| within_one(flag, p.unwrap_or(0.0));
        Ok(Augmentation {
            crop: self.crop()?,
            horizontal_flip: flip("--horizontal-flip", self.horizontal_flip)?,
            vertical_flip: flip("--vertical-flip", self.vertical_flip)?,
            alternating_flip: self.alternating_flip.unwrap_or(false),
            affine: self.affine()?,
            auto: self.auto()?,
            jitter: self.jitter()?,
            greyscale: within_one("--greyscale", self.greyscale.unwrap_or(0.0))?,
            erasing: self.erasing()?,
            cutout: self.cutout.map(|side| count("--cutout", side)).transpose()?.unwrap_or(0),
            nearest: self.interpolation == Some(Interpolation::Nearest),
        })
    }

    /// How samples are mixed, all checked.
    pub fn mixing(&self) -> Result<Mixing> {
        let alpha = |flag, alpha: Option<f64>| not_negative(flag, alpha.unwrap_or(0.0));
        Ok(Mixing {
            mixup_alpha: alpha("--mixup-alpha", self.mixup_alpha)?,
            cutmix_alpha: alpha("--cutmix-alpha", self.cutmix_alpha)?,
            mixup_prob: within_one("--mixup-prob", self.mixup_prob.unwrap_or(1.0))?,
            switch_prob: within_one("--switch-prob", self.switch_prob.unwrap_or(0.5))?,
        })
    }

    /// Refuses settings of what is not done.
    fn check_fit(&self) -> Result<()> {
        if self.crop_padding.is_some() && self.resized_crop_scale.is_some() {
            return fail("--crop-padding and --resized-crop-scale exclude each other; give one of them");
        }
        if self.alternating_flip == Some(true) && self.horizontal_flip.is_some_and(|p| p > 0.0) {
            return fail("--alternating-flip and --horizontal-flip exclude each other; give one of them");
        }
        let rand = self.auto_augment == Some(AutoName::RandAugment);
        let mixes = self.mixup_alpha.is_some() || self.cutmix_alpha.is_some();
        let both = self.mixup_alpha.is_some() && self.cutmix_alpha.is_some();
        let dependents = [
            ("--padding-mode", self.padding_mode.is_some(), self.crop_padding.is_some(), "--crop-padding"),
            (
                "--resized-crop-ratio",
                self.resized_crop_ratio.is_some(),
                self.resized_crop_scale.is_some(),
                "--resized-crop-scale",
            ),
            ("--num-ops", self.num_ops.is_some(), rand, "--auto-augment rand-augment"),
            ("--magnitude", self.magnitude.is_some(), rand, "--auto-augment rand-augment"),
            ("--erasing-scale", self.erasing_scale.is_some(), self.erasing.is_some(), "--erasing"),
            ("--erasing-ratio", self.erasing_ratio.is_some(), self.erasing.is_some(), "--erasing"),
            ("--mixup-prob", self.mixup_prob.is_some(), mixes, "--mixup-alpha or --cutmix-alpha"),
            ("--switch-prob", self.switch_prob.is_some(), both, "--mixup-alpha and --cutmix-alpha"),
        ];
        match dependents.into_iter().find(|(_, given, fits, _)| *given && !fits) {
            None => Ok(()),
            Some((flag, .., home)) => fail(format!("{flag} goes with {home}, which is not given")),
        }
    }

    fn crop(&self) -> Result<Crop> {
        if let Some(scale) = self.resized_crop_scale {
            range("--resized-crop-scale", scale, 1.0)?;
            let ratio = self.resized_crop_ratio.unwrap_or([3.0 / 4.0, 4.0 / 3.0]);
            range("--resized-crop-ratio", ratio, 100.0)?;
            return Ok(Crop::Resized { scale, ratio });
        }
        let Some(padding) = self.crop_padding else { return Ok(Crop::Centre) };
        require((1..=1024).contains(&padding), "--crop-padding", padding, "from 1 to 1024")?;
        Ok(Crop::Padded { padding, reflect: self.padding_mode == Some(PaddingMode::Reflect) })
    }

    fn affine(&self) -> Result<Affine> {
        let none = Affine::NONE;
        let degrees = self.degrees.unwrap_or(none.degrees);
        require((0.0..=180.0).contains(&degrees), "--degrees", degrees, "from 0 to 180")?;
        let translate = self.translate.unwrap_or(none.translate);
        for share in translate {
            within_one("--translate", share)?;
        }
        let scale = self.scale.unwrap_or(none.scale);
        range("--scale", scale, 100.0)?;
        require(scale[0] >= 0.01, "--scale", scale[0], "at least 0.01")?;
        let shear = self.shear.unwrap_or(none.shear);
        require((0.0..=80.0).contains(&shear), "--shear", shear, "from 0 to 80")?;
        Ok(Affine { degrees, translate, scale, shear })
    }

    fn auto(&self) -> Result<Option<Auto>> {
        Ok(match self.auto_augment {
            None => None,
            Some(AutoName::TrivialAugmentWide) => Some(Auto::TrivialAugmentWide),
            Some(AutoName::RandAugment) => {
                let (num_ops, magnitude) = (self.num_ops.unwrap_or(2), self.magnitude.unwrap_or(9));
                require((1..=7).contains(&num_ops), "--num-ops", num_ops, "from 1 to 7")?;
                require(magnitude <= 30, "--magnitude", magnitude, "from 0 to 30")?;
                Some(Auto::RandAugment { num_ops, magnitude })
            }
        })
    }

    fn jitter(&self) -> Result<Jitter> {
        let factor = |flag, value: Option<f64>| {
            let value = value.unwrap_or(0.0);
            require((0.0..=6.0).contains(&value), flag, value, "from 0 to 6").map(|()| value)
        };
        let hue = self.hue.unwrap_or(0.0);
        require((0.0..=0.5).contains(&hue), "--hue", hue, "from 0 to 0.5")?;
        Ok(Jitter {
            brightness: factor("--brightness", self.brightness)?,
            contrast: factor("--contrast", self.contrast)?,
            saturation: factor("--saturation", self.saturation)?,
            hue,
        })
    }

    fn erasing(&self) -> Result<Erasing> {
        let none = Erasing::NONE;
        let scale = self.erasing_scale.unwrap_or(none.scale);
        let ratio = self.erasing_ratio.unwrap_or(none.ratio);
        range("--erasing-scale", scale, 1.0)?;
        range("--erasing-ratio", ratio, 100.0)?;
        Ok(Erasing { p: within_one("--erasing", self.erasing.unwrap_or(0.0))?, scale, ratio })
    }
}

/// Two numbers above 0 in order, the larger one at most `most`.
fn range(flag: &str, [low, high]: [f64; 2], most: f64) -> Result<()> {
    positive(flag, low)?;
    let allowed = format!("two numbers in order, above 0 and at most {most}");
    require(low <= high && high <= most, flag, format!("{low},{high}"), allowed)
}
