use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::recipe::{DeviceChoice, Precision};
use super::tune::TuningTable;
use crate::error::{Error, Result};
use crate::gpu::{Adapter, AdapterKind, Checks, Gpu, Opening, adapters};

/// What a session runs on.
#[derive(Clone, Debug)]
pub enum Device {
    /// The native CPU path.
    Cpu,
    /// An open GPU.
    Gpu(Arc<Gpu>),
}

/// What results depend on to the bit, besides recipe and data; recorded with each checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The device's name; `cpu` for the native CPU path.
    pub device: String,
    /// The driver of a GPU.
    pub driver: String,
    /// Threads of the CPU path.
    pub threads: usize,
    /// The version of wgrad, which stands for its table of kernels.
    pub version: String,
    /// How matrices of f16 are multiplied cooperatively; empty if they are not.
    #[serde(default)]
    pub cooperative: String,
    /// A hash of the tuned kernels that can change bits; empty if there are none.
    #[serde(default)]
    pub tuning: String,
    /// The type of activations and their gradients.
    #[serde(default = "f32_name")]
    pub precision: String,
}

fn f32_name() -> String {
    Precision::F32.name().to_string()
}

impl Device {
    /// Opens the device that the user asked for, without run-time checks in shaders. Touches no files.
    pub async fn open(choice: &DeviceChoice) -> Result<Device> {
        Device::open_with(choice, Opening { checks: Checks::Off, ..Opening::default() }).await
    }

    /// Opens the device that the user asked for; `opening` is for GPUs.
    pub async fn open_with(choice: &DeviceChoice, opening: Opening) -> Result<Device> {
        match Device::choose(choice).await? {
            Some(adapter) => Device::open_adapter(&adapter, opening).await,
            None => Ok(Device::Cpu),
        }
    }

    /// Opens an adapter.
    pub async fn open_adapter(adapter: &Adapter, opening: Opening) -> Result<Device> {
        Ok(Device::Gpu(Arc::new(Gpu::open_with(adapter, opening).await?)))
    }

    /// The adapter that the user asked for; none for the CPU path.
    pub async fn choose(choice: &DeviceChoice) -> Result<Option<Adapter>> {
        if *choice == DeviceChoice::Cpu {
            return Ok(None);
        }
        let found = adapters().await;
        let best = found.iter().min_by_key(|adapter| adapter.kind);
        let chosen = match choice {
            DeviceChoice::Cpu => None,
            DeviceChoice::Auto => best.filter(|adapter| adapter.kind != AdapterKind::Software),
            DeviceChoice::Gpu => Some(best.ok_or_else(no_adapter)?),
            DeviceChoice::Index(index) => Some(found.get(*index).ok_or_else(|| unknown(choice, &found))?),
            DeviceChoice::Name(name) => Some(by_name(name, &found).ok_or_else(|| unknown(choice, &found))?),
        };
        Ok(chosen.cloned())
    }

    /// Its name for people.
    pub fn name(&self) -> String {
        match self {
            Device::Cpu => format!("the CPU ({} threads)", rayon::current_num_threads()),
            Device::Gpu(gpu) => gpu.name.clone(),
        }
    }

    /// The same device with the kernels of a table.
    pub fn tuned(self, table: &TuningTable) -> Device {
        match self {
            Device::Gpu(mut gpu) => {
                // Nobody else holds a device that has just been opened; one that is in use stays as it is.
                if let Some(gpu) = Arc::get_mut(&mut gpu) {
                    gpu.capabilities.tuning = Some(Arc::new(table.tuning()));
                }
                Device::Gpu(gpu)
            }
            Device::Cpu => Device::Cpu,
        }
    }

    /// What is recorded with a run.
    pub fn environment(&self) -> Environment {
        let (device, driver, tuning) = match self {
            Device::Cpu => ("cpu".to_string(), String::new(), String::new()),
            Device::Gpu(gpu) => {
                let tuning = gpu.capabilities.tuning.as_ref().map(|tuning| tuning.inexact.clone());
                (gpu.name.clone(), gpu.driver.clone(), tuning.unwrap_or_default())
            }
        };
        let version = env!("CARGO_PKG_VERSION").to_string();
        let cooperative = match self {
            Device::Gpu(gpu) => gpu.capabilities.cooperative.map_or_else(String::new, |way| way.name()),
            Device::Cpu => String::new(),
        };
        Environment {
            device,
            driver,
            threads: rayon::current_num_threads(),
            version,
            cooperative,
            tuning,
            precision: f32_name(),
        }
    }

    /// Largest page of parameters that the device binds at once, in bytes.
    pub fn max_page_bytes(&self) -> u64 {
        match self {
            Device::Cpu => 1 << 40,
            Device::Gpu(gpu) => gpu.capabilities.max_storage_binding.min(gpu.capabilities.max_buffer),
        }
    }
}

fn by_name<'a>(name: &str, found: &'a [Adapter]) -> Option<&'a Adapter> {
    let wanted = name.to_lowercase();
    found.iter().find(|adapter| adapter.name.to_lowercase().contains(&wanted))
}

fn no_adapter() -> Error {
    Error::NoDevice(
        "no GPU adapter was found: install a Vulkan driver (on Debian mesa-vulkan-drivers), or use --device cpu"
            .to_string(),
    )
}

fn unknown(choice: &DeviceChoice, found: &[Adapter]) -> Error {
    if found.is_empty() {
        return no_adapter();
    }
    let names: Vec<String> =
        found.iter().map(|adapter| format!("{} ({})", adapter.index, adapter.name)).collect();
    Error::NoDevice(format!("no device \"{choice}\"; there are: cpu, {}", names.join(", ")))
}

/// Runs pieces of work in parallel: the threads that the GPU executor is given.
pub fn in_parallel(count: usize, work: &(dyn Fn(usize) + Sync)) {
    (0..count).into_par_iter().for_each(work);
}
