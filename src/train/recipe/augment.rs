//! The table `[augment]` of a recipe: what is done to training samples. Names are those of `torchvision.transforms.v2`
//! and, for mixing, timm's.

use serde::{Deserialize, Serialize};

use super::check::{count, fail, not_negative, positive, require, within_one};
use crate::augment::{Affine, Augmentation, Auto, Crop, Erasing, Jitter, Mixing};
use crate::error::Result;

/// Settings of augmentation; what is left open is not done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentRecipe {
    /// `RandomCrop`: pixels around the image, of which a part of its size is taken.
    pub crop_padding: Option<u32>,
    /// What those pixels are: black if left open.
    pub padding_mode: Option<PaddingMode>,
    /// `RandomResizedCrop`: smallest and largest share of the area.
    pub resized_crop_scale: Option<[f64; 2]>,
    /// `RandomResizedCrop`: smallest and largest width over height; 3/4 and 4/3 if left open.
    pub resized_crop_ratio: Option<[f64; 2]>,
    /// `RandomHorizontalFlip`: probability.
    pub horizontal_flip: Option<f64>,
    /// `RandomVerticalFlip`: probability.
    pub vertical_flip: Option<f64>,
    /// Whether half of the samples is flipped in even epochs and the other half in odd ones.
    pub alternating_flip: Option<bool>,
    /// `RandomAffine`: largest rotation to either side.
    pub degrees: Option<f64>,
    /// `RandomAffine`: largest shifts to either side, as shares of width and height.
    pub translate: Option<[f64; 2]>,
    /// `RandomAffine`: smallest and largest factor.
    pub scale: Option<[f64; 2]>,
    /// `RandomAffine`: largest horizontal shear to either side, in degrees.
    pub shear: Option<f64>,
    /// How pixels between pixels are found; bilinear if left open.
    pub interpolation: Option<Interpolation>,
    /// A policy that draws operations.
    pub auto_augment: Option<AutoName>,
    /// RandAugment: operations per sample; 2 if left open.
    pub num_ops: Option<u32>,
    /// RandAugment: magnitude of each, from 0 to 30; 9 if left open.
    pub magnitude: Option<u32>,
    /// `ColorJitter`.
    pub brightness: Option<f64>,
    /// `ColorJitter`.
    pub contrast: Option<f64>,
    /// `ColorJitter`.
    pub saturation: Option<f64>,
    /// `ColorJitter`.
    pub hue: Option<f64>,
    /// `RandomGrayscale`: probability.
    pub greyscale: Option<f64>,
    /// `RandomErasing`: probability.
    pub erasing: Option<f64>,
    /// `RandomErasing`: smallest and largest share of the area; 0.02 and 0.33 if left open.
    pub erasing_scale: Option<[f64; 2]>,
    /// `RandomErasing`: smallest and largest height over width; 0.3 and 3.3 if left open.
    pub erasing_ratio: Option<[f64; 2]>,
    /// Cutout: the side of a square that is erased.
    pub cutout: Option<u32>,
    /// Mixup: the share of an image is drawn from Beta(alpha, alpha).
    pub mixup_alpha: Option<f64>,
    /// Cutmix: the area of the box is drawn from Beta(alpha, alpha).
    pub cutmix_alpha: Option<f64>,
    /// Probability that a batch is mixed; 1 if left open.
    pub mixup_prob: Option<f64>,
    /// Probability of cutmix where both are on; 0.5 if left open.
    pub switch_prob: Option<f64>,
}

/// What lies around an image, by its name in flags and recipes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PaddingMode {
    /// Black.
    #[default]
    Constant,
    /// The image, mirrored at its outermost pixels.
    Reflect,
}

/// How pixels between pixels are found, by its name in flags and recipes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// From the four around.
    #[default]
    Bilinear,
    /// From the nearest.
    Nearest,
}

/// A policy, by its name in flags and recipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AutoName {
    /// `TrivialAugmentWide`.
    TrivialAugmentWide,
    /// `RandAugment`.
    RandAugment,
}

impl PaddingMode {
    /// Both.
    pub const ALL: [PaddingMode; 2] = [PaddingMode::Constant, PaddingMode::Reflect];

    /// As flags and recipes have it.
    pub fn name(self) -> &'static str {
        match self {
            PaddingMode::Constant => "constant",
            PaddingMode::Reflect => "reflect",
        }
    }
}

impl Interpolation {
    /// Both.
    pub const ALL: [Interpolation; 2] = [Interpolation::Bilinear, Interpolation::Nearest];

    /// As flags and recipes have it.
    pub fn name(self) -> &'static str {
        match self {
            Interpolation::Bilinear => "bilinear",
            Interpolation::Nearest => "nearest",
        }
    }
}

impl AutoName {
    /// Both.
    pub const ALL: [AutoName; 2] = [AutoName::TrivialAugmentWide, AutoName::RandAugment];

    /// As flags and recipes have it.
    pub fn name(self) -> &'static str {
        match self {
            AutoName::TrivialAugmentWide => "trivial-augment-wide",
            AutoName::RandAugment => "rand-augment",
        }
    }
}

impl AugmentRecipe {
    /// These settings, and `base`'s where they are open.
    pub(super) fn over(self, mut base: AugmentRecipe) -> AugmentRecipe {
        // Crops exclude each other, as policies do: a flag for one sets a file's other aside.
        if self.crop_padding.is_some() {
            (base.resized_crop_scale, base.resized_crop_ratio) = (None, None);
        }
        if self.resized_crop_scale.is_some() {
            (base.crop_padding, base.padding_mode) = (None, None);
        }
        if self.auto_augment.is_some_and(|auto| auto != AutoName::RandAugment) {
            (base.num_ops, base.magnitude) = (None, None);
        }
        AugmentRecipe {
            crop_padding: self.crop_padding.or(base.crop_padding),
            padding_mode: self.padding_mode.or(base.padding_mode),
            resized_crop_scale: self.resized_crop_scale.or(base.resized_crop_scale),
            resized_crop_ratio: self.resized_crop_ratio.or(base.resized_crop_ratio),
            horizontal_flip: self.horizontal_flip.or(base.horizontal_flip),
            vertical_flip: self.vertical_flip.or(base.vertical_flip),
            alternating_flip: self.alternating_flip.or(base.alternating_flip),
            degrees: self.degrees.or(base.degrees),
            translate: self.translate.or(base.translate),
            scale: self.scale.or(base.scale),
            shear: self.shear.or(base.shear),
            interpolation: self.interpolation.or(base.interpolation),
            auto_augment: self.auto_augment.or(base.auto_augment),
            num_ops: self.num_ops.or(base.num_ops),
            magnitude: self.magnitude.or(base.magnitude),
            brightness: self.brightness.or(base.brightness),
            contrast: self.contrast.or(base.contrast),
            saturation: self.saturation.or(base.saturation),
            hue: self.hue.or(base.hue),
            greyscale: self.greyscale.or(base.greyscale),
            erasing: self.erasing.or(base.erasing),
            erasing_scale: self.erasing_scale.or(base.erasing_scale),
            erasing_ratio: self.erasing_ratio.or(base.erasing_ratio),
            cutout: self.cutout.or(base.cutout),
            mixup_alpha: self.mixup_alpha.or(base.mixup_alpha),
            cutmix_alpha: self.cutmix_alpha.or(base.cutmix_alpha),
            mixup_prob: self.mixup_prob.or(base.mixup_prob),
            switch_prob: self.switch_prob.or(base.switch_prob),
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
