use std::sync::Arc;

use crate::error::Result;
use crate::gpu::{Checks, Opening};
use crate::train::{CacheFolder, Device, DeviceChoice};

/// Opens the device that the user asked for, as users have it: without run-time checks in shaders, and with compiled
/// pipelines kept in the user's folder for caches.
///
/// `cooperative` is whether they want matrices of f16 multiplied cooperatively, if the device is proved to.
pub(super) fn open(choice: &DeviceChoice, cooperative: bool) -> Result<Device> {
    let Some(adapter) = pollster::block_on(Device::choose(choice))? else { return Ok(Device::Cpu) };
    let cache = CacheFolder::of_user().map(Arc::new);
    let pipelines = cache.clone().map(|cache| cache as Arc<_>);
    let cooperative = cooperative.then(|| super::cooperative::wanted(&adapter, cache.as_deref())).flatten();
    let opening = Opening { checks: Checks::Off, cooperative, pipelines, ..Opening::default() };
    let device = pollster::block_on(Device::open_adapter(&adapter, opening))?;
    for note in cache.iter().flat_map(|cache| cache.take_notes()) {
        eprintln!("note: {note}");
    }
    Ok(device)
}
