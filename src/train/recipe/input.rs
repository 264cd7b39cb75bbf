//! What is trained on what: data, model, initial weights.

use std::path::PathBuf;

use super::range::fail;
use super::theme::{not, theme};
use crate::data::DataSource;
use crate::error::Result;

theme! {
/// Data and model.
#[command(next_help_heading = "Data and model")]
pub struct InputSettings {
    /// digits, mnist:DIR, fashion-mnist:DIR, cifar10:DIR, cifar100:DIR, folder:DIR or tensors:FILE.safetensors
    /// [default: digits]
    #[arg(long, value_name = "SOURCE")]
    pub data: Option<DataSource>,
    /// A built-in model (seed-cnn, digits-cnn, lenet5, small-cnn, mobilenet_v2-cifar, resnet18-cifar, resnet50) or a TOML file [default: digits-cnn
    /// for the digits, else small-cnn]
    #[arg(long, value_name = "NAME|FILE")]
    pub model: Option<String>,
    /// Start from the weights in this safetensors file, taken by name
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// Take the samples in file order, without augmentation
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
    pub(super) fn data(&self) -> DataSource {
        self.data.clone().unwrap_or(DataSource::Digits)
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
