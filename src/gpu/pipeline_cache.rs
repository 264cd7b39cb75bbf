//! Compiled pipelines that outlive the process: `gpu` takes and gives bytes, the caller keeps them.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use super::device::lock;
use super::trusted;
use crate::plan::shader_hash;

/// What compiled pipelines belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PipelineKey {
    /// The adapter and its driver.
    pub device: String,
    /// The version of wgrad and a hash of its shaders.
    pub version: String,
}

impl PipelineKey {
    /// The key of an adapter's pipelines, as this version of wgrad compiles them.
    pub(super) fn new(adapter: &str, driver: &str) -> PipelineKey {
        let version = format!("wgrad {}, shaders {:016x}", env!("CARGO_PKG_VERSION"), shader_hash());
        PipelineKey { device: format!("{adapter}, {driver}"), version }
    }
}

/// Keeps compiled pipelines from one process to the next.
pub trait PipelineStore: Debug + Send + Sync {
    /// Exactly the bytes that were last saved under this key, unless they are lost or damaged: drivers trust them.
    fn load(&self, key: &PipelineKey) -> Option<Vec<u8>>;

    /// Replaces what is kept under this key.
    fn save(&self, key: &PipelineKey, bytes: &[u8]);
}

/// A device's cache of compiled pipelines.
#[derive(Debug)]
pub(super) struct PipelineCache {
    inner: wgpu::PipelineCache,
    store: Arc<dyn PipelineStore>,
    key: PipelineKey,
    /// What the store has.
    kept: Mutex<Vec<u8>>,
}

impl PipelineCache {
    pub(super) fn new(
        device: &wgpu::Device,
        store: Arc<dyn PipelineStore>,
        key: PipelineKey,
    ) -> PipelineCache {
        let found = store.load(&key);
        let inner = trusted::pipeline_cache(device, found.as_deref());
        PipelineCache { inner, store, key, kept: Mutex::new(found.unwrap_or_default()) }
    }

    pub(super) fn inner(&self) -> &wgpu::PipelineCache {
        &self.inner
    }

    /// Gives the cache to the store, if it has changed.
    pub(super) fn keep(&self) {
        let Some(bytes) = self.inner.get_data() else { return };
        let mut kept = lock(&self.kept);
        if *kept != bytes {
            self.store.save(&self.key, &bytes);
            *kept = bytes;
        }
    }
}
