//! What wgpu cannot check for us: shaders without run-time checks, pipeline caches, the token of experimental features.
//! With `cpu/gemm.rs` the only place where unsafe code is allowed.
#![allow(unsafe_code)]

/// Whether shaders carry wgpu's run-time checks: bounds of arrays, zero divisors of integers, ends of loops, and zeroes
/// in workgroup memory before it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checks {
    /// As WebGPU has them: what the tests run with.
    #[default]
    On,
    /// Without: what users run with.
    Off,
}

/// Compiles one of this crate's shaders.
pub(super) fn shader_module(
    device: &wgpu::Device,
    descriptor: wgpu::ShaderModuleDescriptor<'_>,
    checks: Checks,
) -> wgpu::ShaderModule {
    let checks = match checks {
        Checks::On => wgpu::ShaderRuntimeChecks::checked(),
        Checks::Off => wgpu::ShaderRuntimeChecks::unchecked(),
    };
    // SAFETY: all shaders come from `plan::shader_text`, so from this crate's own files, and their sizes from shapes that
    // `Graph::apply` has checked. ARCHITECTURE.md ("Shaders run unchecked") has the rules that make the checks needless:
    // every index is guarded or follows from a guarded one, labels included; divisors are sizes of tensors, which are
    // never empty; all loops count up to such a size; workgroup memory is written before it is read. The tests run every
    // kernel with checks, in memory full of NaN, and compare with runs without.
    unsafe { device.create_shader_module_trusted(descriptor, checks) }
}

/// A cache of compiled pipelines, filled from what [`wgpu::PipelineCache::get_data`] gave to an earlier process.
pub(super) fn pipeline_cache(device: &wgpu::Device, data: Option<&[u8]>) -> wgpu::PipelineCache {
    let descriptor = wgpu::PipelineCacheDescriptor { label: Some("pipelines"), data, fallback: true };
    // SAFETY: the bytes are those of an earlier `get_data`: whoever keeps them (`PipelineStore`) gives back only what has
    // the checksum that it had when it was stored, for the same adapter, driver and version of wgrad. wgpu and the driver
    // check their own headers besides.
    unsafe { device.create_pipeline_cache(&descriptor) }
}

/// The consent to features that wgpu calls experimental; of these only cooperative matrices are ever asked for.
pub(super) fn experimental_features() -> wgpu::ExperimentalFeatures {
    // SAFETY: the token acknowledges that wgpu's implementation may have errors. Kernels of the tier `CooperativeMatrix`
    // are compared with portable ones before they are used.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}
