use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use super::device::{Gpu, lock};
use super::pipeline_cache::PipelineCache;
use super::reflect::{EntryPoint, Reflection};
use super::trusted::{self, Checks};
use crate::error::{Error, Result};
use crate::graph::{Access, Variant};
use crate::plan::{Command, Plan, shader_text};

/// Runs `count` pieces of work, in parallel if the caller has threads.
pub type Spawner<'s> = &'s (dyn Fn(usize, &(dyn Fn(usize) + Sync)) + Sync);

/// A kernel: entry point and constants select the shader's variant.
pub(super) type KernelKey = (&'static str, &'static str, String);
pub(super) type PipelineMap = HashMap<KernelKey, Arc<Pipeline>>;

/// A compiled kernel with what it binds.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) entry: EntryPoint,
}

/// The key of a dispatch's pipeline.
pub(super) fn key(shader: &'static str, entry: &'static str, variant: &Variant) -> KernelKey {
    (shader, entry, format!("{variant:?}"))
}

/// One shader text and the entry points of it that a plan uses.
struct Missing {
    shader: &'static str,
    variant: Variant,
    entries: Vec<&'static str>,
}

/// A compiled shader text with what its entry points bind.
struct Module {
    module: wgpu::ShaderModule,
    entries: Vec<EntryPoint>,
}

impl Gpu {
    /// Creates the pipelines of a plan that do not exist yet, in parallel: first each shader's module, once, then each
    /// entry point's pipeline.
    pub(super) async fn prepare(&self, plan: &Plan, spawner: Spawner<'_>) -> Result<()> {
        let missing = self.missing(plan);
        let modules = in_order(spawner, missing.len(), |index| {
            pollster::block_on(self.create_module(&missing[index]))
        })?;
        let entries: Vec<(usize, usize)> = (0..missing.len())
            .flat_map(|shader| (0..missing[shader].entries.len()).map(move |entry| (shader, entry)))
            .collect();
        let made = in_order(spawner, entries.len(), |index| {
            let (shader, entry) = entries[index];
            pollster::block_on(self.create_kernel(&missing[shader], &modules[shader], entry))
        })?;
        if let Some(cache) = self.cache.as_ref().filter(|_| !made.is_empty()) {
            cache.keep();
        }
        lock(&self.pipelines).extend(made);
        Ok(())
    }

    fn missing(&self, plan: &Plan) -> Vec<Missing> {
        let known = lock(&self.pipelines);
        let mut variants: BTreeMap<(&'static str, String), Missing> = BTreeMap::new();
        for command in &plan.commands {
            let Command::Dispatch { dispatch, .. } = command else { continue };
            let (shader, entry, variant) = key(dispatch.shader, dispatch.entry, &dispatch.variant);
            if known.contains_key(&(shader, entry, variant.clone())) {
                continue;
            }
            let variant = variants.entry((shader, variant)).or_insert_with(|| Missing {
                shader,
                variant: dispatch.variant.clone(),
                entries: vec![],
            });
            if !variant.entries.contains(&entry) {
                variant.entries.push(entry);
            }
        }
        variants.into_values().collect()
    }

    async fn create_module(&self, missing: &Missing) -> Result<Module> {
        let fail = |message: String| Error::Device { device: self.name.clone(), message };
        let text = shader_text(missing.shader, &missing.variant);
        let reflection = Reflection::for_tier(&text, self.capabilities.tier)
            .map_err(|message| fail(format!("shader {}: {message}", missing.shader)))?;
        let entry = |name: &&'static str| reflection.entry_point(name).ok_or(*name);
        let entries: Vec<EntryPoint> = missing
            .entries
            .iter()
            .map(entry)
            .collect::<Result<_, _>>()
            .map_err(|name| fail(format!("shader {} has no entry point {name}", missing.shader)))?;
        let create = || {
            let source = wgpu::ShaderSource::Naga(Cow::Owned(reflection.module));
            let descriptor = wgpu::ShaderModuleDescriptor { label: Some(missing.shader), source };
            trusted::shader_module(&self.device, descriptor, self.checks)
        };
        let module = self.scoped(&format!("the shader {}", missing.shader), create).await?;
        Ok(Module { module, entries })
    }

    async fn create_kernel(
        &self,
        missing: &Missing,
        module: &Module,
        index: usize,
    ) -> Result<(KernelKey, Arc<Pipeline>)> {
        let (name, entry) = (missing.entries[index], module.entries[index].clone());
        let label = format!("{}.{name}", missing.shader);
        let create = || self.create_pipeline(&label, &module.module, name, entry);
        let made = self.scoped(&label, create).await?;
        Ok((key(missing.shader, name, &missing.variant), Arc::new(made)))
    }

    fn create_pipeline(
        &self,
        label: &str,
        module: &wgpu::ShaderModule,
        name: &str,
        entry: EntryPoint,
    ) -> Pipeline {
        let entries: Vec<wgpu::BindGroupLayoutEntry> = entry
            .bindings
            .iter()
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding: binding.number,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match binding.storage {
                        Some(access) => {
                            wgpu::BufferBindingType::Storage { read_only: access == Access::Read }
                        }
                        None => wgpu::BufferBindingType::Uniform,
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(label),
            entries: &entries,
        });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: Some(&pipeline_layout),
            module,
            entry_point: Some(name),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: self.checks == Checks::On,
                ..Default::default()
            },
            cache: self.cache.as_ref().map(PipelineCache::inner),
        });
        Pipeline { pipeline, layout, entry }
    }
}

/// The results of `count` pieces of work in their order, or the first error.
fn in_order<T: Send>(
    spawner: Spawner<'_>,
    count: usize,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let done: Mutex<Vec<Option<Result<T>>>> = Mutex::new((0..count).map(|_| None).collect());
    spawner(count, &|index| {
        let result = work(index);
        lock(&done)[index] = Some(result);
    });
    let done = std::mem::take(&mut *lock(&done));
    done.into_iter().map(|result| result.expect("the spawner runs every piece")).collect()
}
