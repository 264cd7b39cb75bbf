//! What is trained on what: data, model, initial weights.

use std::path::PathBuf;

use super::range::{count, fail};
use super::theme::{not, theme};
use crate::augment::Crop;
use crate::data::{DataSource, ImageSize};
use crate::error::Result;

theme! {
/// Data and model.
#[command(next_help_heading = "Data and model")]
pub struct InputSettings {
    /// digits, mnist:DIR, fashion-mnist:DIR, cifar10:DIR, cifar100:DIR, folder:DIR or tensors:FILE.safetensors
    /// [default: digits]
    #[arg(long, value_name = "SOURCE")]
    pub data: Option<DataSource>,
    /// A built-in model (seed-cnn, digits-cnn, lenet5, mnist-tiny, mnist-cnn, small-cnn, squeezenet1_1, mobilenet_v2-cifar,
    /// mobilenet_v3_small, wide_resnet16_4-cifar, mobilenet_v2, efficientnet_b0, densenet121, airbench94-cifar, resnet18-cifar,
    /// resnet18, resnet34-cifar, resnet34, resnet50-cifar, resnet50, convnext_tiny, wide_resnet50_2, vgg11_bn,
    /// vgg16_bn) or a TOML file [default: digits-cnn for the digits, else small-cnn]
    #[arg(long, value_name = "NAME|FILE")]
    pub model: Option<String>,
    /// Start from the weights in this safetensors file, taken by name
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// folder: the side of the network's pictures, which may then be of any size: the shorter side is resized, the middle
    /// taken
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    pub image_size: Option<u32>,
    /// folder: what the shorter side is resized to [default: --image-size / 0.875]
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    pub resize_size: Option<u32>,
    /// folder: leave out pictures that cannot be read
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub skip_bad: Option<bool>,
    /// folder: keep decoded pictures in this file, and read them there the next time
    #[arg(long, value_name = "FILE")]
    pub cache: Option<PathBuf>,
    /// Start from the weights of a network of other classes: a safetensors file, or hf:OWNER/NAME on the Hugging Face hub.
    /// The last layer is new where the number of classes differs
    #[arg(long, value_name = "FILE|hf:OWNER/NAME")]
    pub pretrained: Option<String>,
    /// Take the samples in file order
    #[arg(long = "no-shuffle", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL", value_parser = not)]
    pub shuffle: Option<bool>,
    /// Leave pixels at 0..1 instead of normalising each channel
    #[arg(long = "no-normalize", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL", value_parser = not)]
    pub normalize: Option<bool>,
}
}

impl InputSettings {
    pub(super) fn pretrained(&self) -> Result<Option<String>> {
        if self.pretrained.is_some() && self.init.is_some() {
            return fail("--init and --pretrained are both weights to start from; give one of them");
        }
        if self.pretrained.as_deref() == Some("") {
            return fail("--pretrained is empty; give a file of weights or hf:OWNER/NAME");
        }
        Ok(self.pretrained.clone())
    }

    pub(super) fn data(&self) -> DataSource {
        self.data.clone().unwrap_or(DataSource::Digits)
    }

    /// The size that pictures are given. Random resized crops are taken from the whole resized square; all else trains on
    /// the middle that is tested on.
    pub(super) fn size(&self, crop: Crop) -> Result<Option<ImageSize>> {
        let Some(image) = self.image_size else {
            return match self.resize_size {
                Some(_) => fail("--resize-size goes with --image-size, which is not given"),
                None => Ok(None),
            };
        };
        let image = count("--image-size", image)?;
        let default = (f64::from(image) / 0.875).round() as u32;
        let shorter = count("--resize-size", self.resize_size.unwrap_or(default))?;
        if image > shorter || shorter > 16384 {
            return fail(format!(
                "--image-size is {image} and --resize-size {shorter}; the crop must be at most as large as what it is \
                 taken from, and that at most 16384"
            ));
        }
        let train = if matches!(crop, Crop::Resized { .. }) { shorter } else { image };
        let [shorter, train, image] = [shorter, train, image].map(|side| side as usize);
        Ok(Some(ImageSize { shorter, train, image }))
    }

    pub(super) fn model(&self) -> Result<String> {
        match self.model.as_deref() {
            Some("") => fail("--model is empty; give the name of a built-in model or a TOML file"),
            Some(model) => Ok(model.to_string()),
            None if self.data() == DataSource::Digits => Ok("digits-cnn".to_string()),
            None => Ok("small-cnn".to_string()),
        }
    }
}
