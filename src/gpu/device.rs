use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Serialize;

use super::pipeline_cache::{PipelineCache, PipelineKey, PipelineStore};
use super::pipelines::PipelineMap;
use super::tiers;
use super::trusted::{self, Checks};
use crate::error::{Error, Result};
use crate::graph::{Capabilities, Cooperative, Tier};

/// What kind of device an adapter is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A GPU with its own memory.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU passed through to a virtual machine.
    Virtual,
    /// Other hardware.
    Other,
    /// A driver that runs shaders on the processor; slower than the native CPU path.
    Software,
}

/// One adapter of this machine.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Its place in `wgrad devices`.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What kind of device it is.
    pub kind: AdapterKind,
    /// Vulkan, Metal or Dx12.
    pub backend: String,
    /// The driver's name and version.
    pub driver: String,
    inner: wgpu::Adapter,
}

impl Adapter {
    /// Limits and tier of the device that [`Gpu::open`] would make.
    pub fn capabilities(&self) -> Capabilities {
        tiers::capabilities(&self.inner, Tier::CooperativeMatrix)
    }

    /// How the adapter may multiply matrices cooperatively, for [`Opening::cooperative`], the fastest way first; to be
    /// proved before one is used.
    pub fn cooperative_ways(&self) -> Vec<Cooperative> {
        tiers::cooperative_ways(&self.inner)
    }
}

/// How a device is opened. By default as the tests have it: with run-time checks and without a cache of pipelines.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Whether shaders carry run-time checks.
    pub checks: Checks,
    /// The best tier to use, if the adapter has it.
    pub tier: Tier,
    /// How to multiply matrices cooperatively; by default not at all, since the feature is experimental.
    pub cooperative: Option<Cooperative>,
    /// Keeps compiled pipelines, where the backend can give them (only Vulkan can).
    pub pipelines: Option<Arc<dyn PipelineStore>>,
}

impl Default for Opening {
    fn default() -> Opening {
        Opening { checks: Checks::On, tier: Tier::CooperativeMatrix, cooperative: None, pipelines: None }
    }
}

/// All adapters, in wgpu's order. Empty on a machine without a driver.
pub async fn adapters() -> Vec<Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let found = instance.enumerate_adapters(wgpu::Backends::all()).await;
    found.into_iter().enumerate().map(|(index, inner)| describe(index, inner)).collect()
}

fn describe(index: usize, inner: wgpu::Adapter) -> Adapter {
    let info = inner.get_info();
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
        wgpu::DeviceType::Other => AdapterKind::Other,
        wgpu::DeviceType::Cpu => AdapterKind::Software,
    };
    let driver = format!("{} {}", info.driver, info.driver_info).trim().to_string();
    Adapter { index, name: info.name, kind, backend: format!("{:?}", info.backend), driver, inner }
}

/// An open device with its queue and its pipelines.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) pipelines: Mutex<PipelineMap>,
    pub(super) checks: Checks,
    pub(super) cache: Option<PipelineCache>,
    failure: Arc<Mutex<Option<Failure>>>,
    /// The adapter's name.
    pub name: String,
    /// The driver's name and version.
    pub driver: String,
    /// What kind of device it is.
    pub kind: AdapterKind,
    /// Limits and tier of the device.
    pub capabilities: Capabilities,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({}, {})", self.name, self.driver)
    }
}

/// What the device's callbacks reported.
enum Failure {
    Lost(String),
    OutOfMemory,
    Other(String),
}

impl Gpu {
    /// Opens a device with all that the adapter offers, with run-time checks in shaders.
    pub async fn open(adapter: &Adapter) -> Result<Gpu> {
        Gpu::open_with(adapter, Opening::default()).await
    }

    /// Opens a device.
    pub async fn open_with(adapter: &Adapter, opening: Opening) -> Result<Gpu> {
        let mut capabilities = tiers::capabilities(&adapter.inner, opening.tier);
        let able = capabilities.tier == Tier::CooperativeMatrix;
        capabilities.cooperative = opening.cooperative.filter(|wanted| able || wanted.is_emulated());
        let experimental = capabilities.cooperative.is_some_and(|wanted| !wanted.is_emulated());
        let asked = if experimental { capabilities.tier } else { capabilities.tier.min(Tier::HalfPrecision) };
        let required_features = tiers::features(&adapter.inner, asked);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("wgrad"),
            required_features,
            required_limits: adapter.inner.limits(),
            experimental_features: match experimental {
                true => trusted::experimental_features(),
                false => wgpu::ExperimentalFeatures::disabled(),
            },
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let opened = adapter.inner.request_device(&descriptor).await;
        let (device, queue) = opened.map_err(|error| {
            Error::NoDevice(format!(
                "the device {} cannot be opened: {error}; try --device cpu",
                adapter.name
            ))
        })?;
        let failure = Arc::new(Mutex::new(None));
        watch(&device, &failure);
        let store = opening.pipelines.filter(|_| required_features.contains(wgpu::Features::PIPELINE_CACHE));
        let key = || PipelineKey::new(&adapter.name, &adapter.driver);
        let cache = store.map(|store| PipelineCache::new(&device, store, key()));
        Ok(Gpu {
            device,
            queue,
            pipelines: Mutex::new(HashMap::new()),
            checks: opening.checks,
            cache,
            failure,
            name: adapter.name.clone(),
            driver: adapter.driver.clone(),
            kind: adapter.kind,
            capabilities,
        })
    }

    /// The error that the device has reported since it was opened, if any.
    pub(super) fn check(&self) -> Result<()> {
        let device = self.name.clone();
        match &*lock(&self.failure) {
            None => Ok(()),
            Some(Failure::Lost(message)) => Err(Error::DeviceLost { device, message: message.clone() }),
            Some(Failure::OutOfMemory) => {
                Err(Error::OutOfMemory { device, what: "a training step".to_string() })
            }
            Some(Failure::Other(message)) => Err(Error::Device { device, message: message.clone() }),
        }
    }

    /// Runs `create` and turns the errors it causes into a typed one that says what was being made.
    pub(super) async fn scoped<R>(&self, what: &str, create: impl FnOnce() -> R) -> Result<R> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let made = create();
        let device = self.name.clone();
        let other = [internal.pop().await, validation.pop().await].into_iter().flatten().next();
        if memory.pop().await.is_some() {
            return Err(Error::OutOfMemory { device, what: what.to_string() });
        }
        match other {
            Some(error) => Err(Error::Device { device, message: format!("{what}: {error}") }),
            None => Ok(made),
        }
    }
}

fn watch(device: &wgpu::Device, failure: &Arc<Mutex<Option<Failure>>>) {
    let on_error = failure.clone();
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        let found = match error {
            wgpu::Error::OutOfMemory { .. } => Failure::OutOfMemory,
            other => Failure::Other(other.to_string()),
        };
        lock(&on_error).get_or_insert(found);
    }));
    let on_lost = failure.clone();
    device.set_device_lost_callback(move |reason, message| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            lock(&on_lost).get_or_insert(Failure::Lost(message));
        }
    });
}

/// The content, also after a panic elsewhere: it is only ever replaced as a whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
