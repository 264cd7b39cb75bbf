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
pub(super) type PipelineKey = (&'static str, &'static str, String);
pub(super) type PipelineMap = HashMap<PipelineKey, Arc<Pipeline>>;

/// A compiled kernel with what it binds.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) entry: EntryPoint,
}

/// The key of a dispatch's pipeline.
pub(super) fn key(shader: &'static str, entry: &'static str, variant: &Variant) -> PipelineKey {
    (shader, entry, format!("{variant:?}"))
}

/// What one shader text compiles to.
type Compiled = Vec<(PipelineKey, Arc<Pipeline>)>;

/// One shader text and the entry points of it that a plan uses.
struct Missing {
    shader: &'static str,
    variant: Variant,
    entries: Vec<&'static str>,
}

impl Gpu {
    /// Creates the pipelines of a plan that do not exist yet, in parallel, each once.
    pub(super) async fn prepare(&self, plan: &Plan, spawner: Spawner<'_>) -> Result<()> {
        let variants = self.missing(plan);
        let made: Mutex<Vec<Result<Compiled>>> = Mutex::new(vec![]);
        spawner(variants.len(), &|index| {
            let result = pollster::block_on(self.compile(&variants[index]));
            lock(&made).push(result);
        });
        let made = std::mem::take(&mut *lock(&made));
        for result in made {
            lock(&self.pipelines).extend(result?);
        }
        if let Some(cache) = self.cache.as_ref().filter(|_| !variants.is_empty()) {
            cache.keep();
        }
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

    async fn compile(&self, missing: &Missing) -> Result<Compiled> {
        let fail = |message: String| Error::Device { device: self.name.clone(), message };
        let text = shader_text(missing.shader, &missing.variant);
        let reflection = Reflection::for_tier(&text, self.capabilities.tier)
            .map_err(|message| fail(format!("shader {}: {message}", missing.shader)))?;
        let entries: Vec<(&'static str, EntryPoint)> = missing
            .entries
            .iter()
            .map(|&name| reflection.entry_point(name).map(|entry| (name, entry)).ok_or(name))
            .collect::<Result<_, _>>()
            .map_err(|name| fail(format!("shader {} has no entry point {name}", missing.shader)))?;
        let module = self
            .scoped(&format!("the shader {}", missing.shader), || {
                let source = wgpu::ShaderSource::Naga(Cow::Owned(reflection.module));
                let descriptor = wgpu::ShaderModuleDescriptor { label: Some(missing.shader), source };
                trusted::shader_module(&self.device, descriptor, self.checks)
            })
            .await?;
        let mut pipelines = vec![];
        for (name, entry) in entries {
            let label = format!("{}.{name}", missing.shader);
            let made = self.scoped(&label, || self.create_pipeline(&label, &module, name, entry)).await?;
            pipelines.push((key(missing.shader, name, &missing.variant), Arc::new(made)));
        }
        Ok(pipelines)
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
