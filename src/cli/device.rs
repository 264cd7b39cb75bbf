use std::sync::Arc;

use crate::error::Result;
use crate::gpu::{Checks, Opening};
use crate::train::{CacheFolder, Device, DeviceChoice};

/// Opens the device that the user asked for, as users have it: without run-time checks in shaders, and with compiled
/// pipelines kept in the user's folder for caches.
pub(super) fn open(choice: &DeviceChoice) -> Result<Device> {
    let cache = CacheFolder::of_user().map(Arc::new);
    let pipelines = cache.clone().map(|cache| cache as Arc<_>);
    let opening = Opening { checks: Checks::Off, pipelines, ..Opening::default() };
    let device = pollster::block_on(Device::open_with(choice, opening))?;
    for note in cache.iter().flat_map(|cache| cache.take_notes()) {
        eprintln!("note: {note}");
    }
    Ok(device)
}
