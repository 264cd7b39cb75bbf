//! The GPU executor: runs plans through wgpu. The only module that names wgpu.
//!
//! What waits for the device is `async`; threads come from the caller, as a [`Spawner`].

mod device;
mod pipeline_cache;
mod pipelines;
mod prepared;
mod profile;
mod readback;
mod reflect;
mod session;
mod tiers;
mod trusted;
mod upload;

pub use device::{Adapter, AdapterKind, Gpu, Opening, adapters};
pub use pipeline_cache::{PipelineKey, PipelineStore};
pub use pipelines::Spawner;
pub use reflect::{EntryPoint, ReflectedBinding, Reflection, UniformMember};
pub use session::Session;
pub use trusted::Checks;
