use std::sync::Arc;

use crate::error::Result;
use crate::gpu::{AdapterKind, Checks, Opening};
use crate::models::Model;
use crate::train::program::{Task, train_graph};
use crate::train::recipe::Precision;
use crate::train::tune::{TuneOptions, TuningTable, tune};
use crate::train::{CacheFolder, Device, DeviceChoice};

/// Opens the device that the user asked for, as users have it: without run-time checks in shaders, and with compiled
/// pipelines kept in the user's folder for caches.
///
/// `cooperative` is whether they want matrices of f16 multiplied cooperatively, if the device is proved to.
pub(super) fn open(choice: &DeviceChoice, cooperative: bool) -> Result<Device> {
    open_with_table(choice, cooperative).map(|(device, _)| device)
}

/// Whether a run that asks for cooperative products can have any: they are of f16.
pub(super) fn cooperative(asked: bool, precision: Precision) -> bool {
    let possible = precision == Precision::F16;
    if asked && !possible {
        eprintln!("note: cooperative matrices are not used: they are of f16, and the precision is f32");
    }
    asked && possible
}

/// [`open`], with the table of tuned kernels that the device was given.
pub(super) fn open_with_table(
    choice: &DeviceChoice,
    cooperative: bool,
) -> Result<(Device, Option<TuningTable>)> {
    let Some(adapter) = pollster::block_on(Device::choose(choice))? else { return Ok((Device::Cpu, None)) };
    let cache = CacheFolder::of_user().map(Arc::new);
    let pipelines = cache.clone().map(|cache| cache as Arc<_>);
    let table = cache.as_ref().map(|cache| TuningTable::load(&adapter.name, &adapter.driver, cache));
    // Kernels that a `wgrad tune` has chosen may need them.
    let cooperative = cooperative || table.as_ref().is_some_and(TuningTable::can_change_bits);
    let cooperative = cooperative.then(|| super::cooperative::wanted(&adapter, cache.as_deref())).flatten();
    let opening = Opening { checks: Checks::Off, cooperative, pipelines, ..Opening::default() };
    let device = pollster::block_on(Device::open_adapter(&adapter, opening))?;
    if let Some(cache) = &cache {
        report_notes(cache);
    }
    let device = match &table {
        Some(table) => device.tuned(table),
        None => device,
    };
    Ok((device, table))
}

/// Tunes the kernels of a model's training step for at most two seconds and keeps the verdicts; changes no result. Only
/// on hardware, and only where verdicts can be kept.
pub(super) fn tune_briefly(
    (device, table): (Device, Option<TuningTable>),
    model: &Model,
    task: &Task,
    quiet: bool,
) -> Result<Device> {
    let (Device::Gpu(gpu), Some(mut table)) = (&device, table) else { return Ok(device) };
    let Some(cache) = CacheFolder::of_user().filter(|_| gpu.kind != AdapterKind::Software) else {
        return Ok(device);
    };
    let known = table.choices.len();
    let graph = train_graph(model, task)?;
    let options = TuneOptions::BEFORE_TRAINING;
    if let Err(error) = pollster::block_on(tune(gpu, &graph, &mut table, options, &mut |_, _, _| {})) {
        // A run does not need it; what stops the run will be said by the run.
        cache.note(format!("kernels are not tuned: {error}"));
    }
    let new = table.choices.len() - known;
    if new > 0 {
        if let Err(error) = table.save(&cache) {
            cache.note(format!("tuned kernels are not kept: {error}"));
        }
        if !quiet {
            eprintln!("note: tuned {new} kernels for this device; `wgrad tune` tries all");
        }
    }
    report_notes(&cache);
    Ok(device.tuned(&table))
}

/// Says what was found damaged or could not be written.
pub(super) fn report_notes(cache: &CacheFolder) {
    for note in cache.take_notes() {
        eprintln!("note: {note}");
    }
}
