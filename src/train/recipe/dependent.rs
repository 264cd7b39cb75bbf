//! Settings that only some optimizers or schedules have.

use std::fmt;

use crate::error::{Error, Result};

/// A setting of a recipe that belongs to certain choices.
pub(super) struct Dependent<'a> {
    flag: &'static str,
    setting: &'a mut dyn Setting,
    /// Whether it belongs to what is chosen.
    fits: bool,
    /// What it belongs to.
    home: &'static str,
    chosen: &'static str,
}

pub(super) trait Setting {
    fn is_open(&self) -> bool;
    fn clear(&mut self);
}

impl<T: fmt::Debug> Setting for Option<T> {
    fn is_open(&self) -> bool {
        self.is_none()
    }
    fn clear(&mut self) {
        *self = None;
    }
}

pub(super) fn with_choice<'a, const N: usize>(
    dependents: [(&'static str, &'a mut dyn Setting, bool, &'static str); N],
    chosen: &'static str,
) -> Vec<Dependent<'a>> {
    let dependents = dependents.into_iter();
    dependents.map(|(flag, setting, fits, home)| Dependent { flag, setting, fits, home, chosen }).collect()
}

/// Leaves open what does not belong to what is chosen.
pub(super) fn clear_misfits(dependents: Vec<Dependent<'_>>) {
    dependents
        .into_iter()
        .filter(|dependent| !dependent.fits)
        .for_each(|dependent| dependent.setting.clear());
}

/// Refuses what does not belong to what is chosen.
pub(super) fn check(dependents: Vec<Dependent<'_>>) -> Result<()> {
    match dependents.iter().find(|dependent| !dependent.fits && !dependent.setting.is_open()) {
        None => Ok(()),
        Some(Dependent { flag, home, chosen, .. }) => {
            Err(Error::Recipe(format!("{flag} goes with {home}, not with {chosen}")))
        }
    }
}
