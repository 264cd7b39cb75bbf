//! Ranges of settings. Errors name the flag; a recipe file's setting is the flag without the dashes.

use std::fmt::Display;

use crate::error::{Error, Result};

pub(super) fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Recipe(message.into()))
}

pub(super) fn require(holds: bool, flag: &str, value: impl Display, allowed: impl Display) -> Result<()> {
    if holds { Ok(()) } else { fail(format!("{flag} is {value}; it must be {allowed}")) }
}

pub(super) fn count(flag: &str, value: u32) -> Result<u32> {
    require(value >= 1, flag, value, "at least 1")?;
    Ok(value)
}

/// Numbers are rounded to f32 on their way to the device, and must be finite there.
pub(super) fn not_negative(flag: &str, value: f64) -> Result<f64> {
    require(value >= 0.0 && (value as f32).is_finite(), flag, value, "at least 0 and finite")?;
    Ok(value)
}

pub(super) fn positive(flag: &str, value: f64) -> Result<f64> {
    require(value as f32 > 0.0 && (value as f32).is_finite(), flag, value, "above 0 and finite")?;
    Ok(value)
}

/// From 0, and less than 1 as the device has it.
pub(super) fn below_one(flag: &str, value: f64) -> Result<f64> {
    require((0.0..1.0).contains(&(value as f32)), flag, value, "at least 0 and less than 1")?;
    Ok(value)
}

pub(super) fn within_one(flag: &str, value: f64) -> Result<f64> {
    require((0.0..=1.0).contains(&value), flag, value, "from 0 to 1")?;
    Ok(value)
}
