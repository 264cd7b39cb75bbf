//! Plans made ready for a device: buffers, bind groups, and their commands in an encoder.

use std::sync::Arc;

use super::device::{Gpu, lock};
use super::pipelines::{Pipeline, key};
use super::session::Shared;
use super::upload::Upload;
use crate::error::{Error, Result};
use crate::graph::{Dispatch, TensorDesc};
use crate::plan::{BINDING_UNIT, Command, Control, Data, Memory, Place, Plan, RUNS_IN_FLIGHT, UNIFORM_SLOT};

/// A plan with its buffers and, once its pipelines exist, its commands ready to be encoded.
pub(super) struct PreparedPlan {
    pub(super) plan: Plan,
    pub(super) inputs: Vec<wgpu::Buffer>,
    tables: Vec<wgpu::Buffer>,
    uniforms: wgpu::Buffer,
    /// None until the graph is prepared.
    pub(super) commands: Option<Vec<Prepared>>,
    /// What is read back after each run, and where it lies in the staging buffer.
    pub(super) results: Vec<(String, Place)>,
    pub(super) staging: Vec<wgpu::Buffer>,
    /// What runs are given goes up in these, in turn.
    pub(super) uploads: Vec<Upload>,
}

pub(super) enum Prepared {
    Dispatch { pipeline: Arc<Pipeline>, bind_group: wgpu::BindGroup, workgroups: [u32; 3] },
    Copy { from: (wgpu::Buffer, u64), to: (wgpu::Buffer, u64), bytes: u64 },
}

impl Prepared {
    /// Adds a dispatch to a pass.
    pub(super) fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        if let Prepared::Dispatch { pipeline, bind_group, workgroups: [x, y, z] } = self {
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, bind_group, &[]);
            pass.dispatch_workgroups(*x, *y, *z);
        }
    }
}

impl PreparedPlan {
    /// Makes the plan's own buffers.
    pub(super) async fn new(gpu: &Gpu, plan: Plan) -> Result<PreparedPlan> {
        gpu.scoped("the inputs and tables", || {
            let input = |(name, desc): (&String, &TensorDesc)| gpu.buffer(name, desc.bytes() as u64);
            PreparedPlan {
                inputs: plan.inputs.iter().map(input).collect(),
                tables: plan.tables.iter().map(|content| gpu.table(content)).collect(),
                uniforms: gpu.uniform("params", plan.uniform_bytes()),
                commands: None,
                results: results(&plan),
                staging: (0..RUNS_IN_FLIGHT).map(|_| gpu.staging(plan.result_bytes())).collect(),
                uploads: (0..RUNS_IN_FLIGHT).map(|_| Upload::new(gpu, plan.upload_bytes())).collect(),
                plan,
            }
        })
        .await
    }

    /// Bytes of the plan's own buffers.
    pub(super) fn bytes(&self) -> u64 {
        let buffers = self.inputs.iter().chain(&self.tables).chain(&self.staging).chain([&self.uniforms]);
        let uploads = self.uploads.iter().map(Upload::bytes);
        buffers.map(wgpu::Buffer::size).chain(uploads).sum()
    }

    /// Makes the bind groups; the pipelines exist.
    pub(super) async fn prepare(&mut self, gpu: &Gpu, shared: &Shared) -> Result<()> {
        let commands = gpu.scoped("the bind groups", || self.prepare_commands(gpu, shared)).await?;
        self.commands = Some(commands);
        Ok(())
    }

    /// The commands, if the plan was prepared.
    pub(super) fn ready(&self, gpu: &Gpu) -> Result<&[Prepared]> {
        self.commands.as_deref().ok_or_else(|| {
            let message = "a graph was not prepared before its first run".to_string();
            Error::Device { device: gpu.name.clone(), message }
        })
    }

    fn prepare_commands(&self, gpu: &Gpu, shared: &Shared) -> Vec<Prepared> {
        let pipelines = self.pipelines(gpu);
        self.write_uniforms(gpu, &pipelines);
        let buffer = |memory: Memory| self.buffer(memory, shared);
        let mut pipelines = pipelines.into_iter().zip((0..).step_by(UNIFORM_SLOT as usize));
        self.plan
            .commands
            .iter()
            .map(|command| match command {
                Command::Copy { from, to } => Prepared::Copy {
                    from: (buffer(from.memory).clone(), from.offset),
                    to: (buffer(to.memory).clone(), to.offset),
                    bytes: from.bytes,
                },
                Command::Dispatch { label, dispatch } => {
                    let (pipeline, offset) = pipelines.next().expect("each dispatch has its pipeline");
                    let entries: Vec<wgpu::BindGroupEntry<'_>> = pipeline
                        .entry
                        .bindings
                        .iter()
                        .map(|binding| {
                            let (buffer, offset, bytes) = match binding.name.as_str() {
                                "params" => (&self.uniforms, offset, u64::from(binding.size)),
                                "step" => (&shared.step, 0, shared.step.size()),
                                name => {
                                    let given = dispatch.bindings.iter().find(|given| given.name == name);
                                    let place = given
                                        .unwrap_or_else(|| panic!("{label}: {name} is not bound"))
                                        .buffer;
                                    (buffer(place.memory), place.offset, place.bytes)
                                }
                            };
                            let size = wgpu::BufferSize::new(bytes.next_multiple_of(BINDING_UNIT));
                            let resource =
                                wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size });
                            wgpu::BindGroupEntry { binding: binding.number, resource }
                        })
                        .collect();
                    let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                        label: Some(label),
                        layout: &pipeline.layout,
                        entries: &entries,
                    });
                    Prepared::Dispatch { pipeline, bind_group, workgroups: dispatch.workgroups }
                }
            })
            .collect()
    }

    pub(super) fn buffer<'a>(&'a self, memory: Memory, shared: &'a Shared) -> &'a wgpu::Buffer {
        match memory {
            Memory::Temporary(index) => &shared.temporaries[index],
            Memory::Input(index) => &self.inputs[index],
            Memory::Resident(index) => &shared.residents[index],
            Memory::Page(list, index) => &shared.pages[&(list, index)],
            Memory::Control => &shared.control,
            Memory::Table(index) => &self.tables[index],
        }
    }

    /// Each input's buffer with the bytes that it is given.
    pub(super) fn parts<'a>(
        &'a self,
        inputs: &'a [(&str, Data<'_, f32>)],
    ) -> impl Iterator<Item = (&'a wgpu::Buffer, &'a [u8])> {
        self.plan.inputs.keys().zip(&self.inputs).map(move |(name, buffer)| {
            let data = inputs.iter().find(|(given, _)| given == name);
            let (_, data) = data.unwrap_or_else(|| panic!("no data for the input {name}"));
            (buffer, bytes_of(data))
        })
    }

    fn pipelines(&self, gpu: &Gpu) -> Vec<Arc<Pipeline>> {
        let known = lock(&gpu.pipelines);
        let pipeline = |dispatch: &Dispatch<Place>| {
            known[&key(dispatch.shader, dispatch.entry, &dispatch.variant)].clone()
        };
        self.dispatches().map(pipeline).collect()
    }

    /// Each dispatch has a slot of the uniform buffer; what is in it follows from the shader.
    fn write_uniforms(&self, gpu: &Gpu, pipelines: &[Arc<Pipeline>]) {
        let mut content = vec![0; self.uniforms.size() as usize];
        let slots = content.chunks_exact_mut(UNIFORM_SLOT as usize);
        for ((dispatch, pipeline), slot) in self.dispatches().zip(pipelines).zip(slots) {
            let params = pipeline.entry.params_bytes(dispatch);
            slot[..params.len()].copy_from_slice(&params);
        }
        gpu.queue.write_buffer(&self.uniforms, 0, &content);
    }

    fn dispatches(&self) -> impl Iterator<Item = &Dispatch<Place>> {
        self.plan.commands.iter().filter_map(|command| match command {
            Command::Dispatch { dispatch, .. } => Some(dispatch),
            Command::Copy { .. } => None,
        })
    }
}

/// The bytes of data for the device.
pub(super) fn bytes_of<'a>(data: &Data<'a, f32>) -> &'a [u8] {
    match data {
        Data::Real(values) => bytemuck::cast_slice(values),
        Data::Int(values) => bytemuck::cast_slice(values),
        Data::Bytes(values) => values,
    }
}

/// Encodes commands: dispatches that follow each other share a pass.
pub(super) fn encode(commands: &[Prepared], encoder: &mut wgpu::CommandEncoder) {
    let mut commands = commands.iter().peekable();
    while let Some(next) = commands.peek() {
        if let Prepared::Copy { from, to, bytes } = next {
            encoder.copy_buffer_to_buffer(&from.0, from.1, &to.0, to.1, *bytes);
            commands.next();
            continue;
        }
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        while let Some(dispatch @ Prepared::Dispatch { .. }) = commands.peek() {
            dispatch.record(&mut pass);
            commands.next();
        }
    }
}

/// What is read back after a run: a training step's control words, else the graph's outputs.
fn results(plan: &Plan) -> Vec<(String, Place)> {
    if plan.updates {
        let bytes = Control::WORDS as u64 * 4;
        return vec![("control".to_string(), Place { memory: Memory::Control, offset: 0, bytes })];
    }
    plan.outputs.iter().map(|(name, (place, _))| (name.clone(), *place)).collect()
}
