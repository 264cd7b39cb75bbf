//! Plans made ready for a device: buffers, bind groups, and their commands in an encoder.

use std::sync::Arc;

use super::device::{Gpu, lock};
use super::pipelines::{Pipeline, key};
use super::session::{Session, Shared};
use super::upload::Upload;
use crate::error::Result;
use crate::graph::Step;
use crate::plan::{BINDING_UNIT, Command, Control, Data, Memory, Place, Plan};

/// A plan with its buffers, and its commands ready to be encoded.
pub(super) struct PreparedPlan {
    pub(super) plan: Plan,
    pub(super) inputs: Vec<wgpu::Buffer>,
    pub(super) temporaries: Vec<wgpu::Buffer>,
    pub(super) commands: Vec<Prepared>,
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
    pub(super) async fn new(session: &Session, plan: Plan) -> Result<PreparedPlan> {
        let gpu = &session.gpu;
        let mib = plan.temporary_bytes() >> 20;
        let what = format!("the plan's {mib} MiB of activations");
        let temporaries = gpu
            .scoped(&what, || {
                plan.temporaries.iter().map(|&bytes| gpu.buffer("temporary", bytes)).collect::<Vec<_>>()
            })
            .await?;
        let inputs = gpu
            .scoped("the inputs", || {
                plan.inputs
                    .iter()
                    .map(|(name, desc)| gpu.buffer(name, desc.bytes() as u64))
                    .collect::<Vec<_>>()
            })
            .await?;
        let tables: Vec<wgpu::Buffer> = plan.tables.iter().map(|content| gpu.table(content)).collect();
        let results = results(&plan);
        let mut prepared = PreparedPlan {
            plan,
            inputs,
            temporaries,
            commands: vec![],
            results,
            staging: vec![],
            uploads: vec![],
        };
        let commands = gpu.scoped("the bind groups", || prepared.prepare_commands(session, &tables)).await?;
        prepared.commands = commands;
        Ok(prepared)
    }

    fn prepare_commands(&self, session: &Session, tables: &[wgpu::Buffer]) -> Vec<Prepared> {
        let params = Params::new(session, &self.plan);
        let buffer = |memory: Memory| match memory {
            Memory::Table(index) => &tables[index],
            memory => self.buffer(memory, &session.shared),
        };
        let mut dispatch_index = 0;
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
                    let pipeline = params.pipelines[dispatch_index].clone();
                    let offset = params.offsets[dispatch_index];
                    dispatch_index += 1;
                    let entries: Vec<wgpu::BindGroupEntry<'_>> = pipeline
                        .entry
                        .bindings
                        .iter()
                        .map(|binding| {
                            let (buffer, offset, bytes) = match binding.name.as_str() {
                                "params" => (&params.buffer, offset, u64::from(binding.size)),
                                "step" => (&session.step, 0, session.step.size()),
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
                    let bind_group = session.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
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
            Memory::Temporary(index) => &self.temporaries[index],
            Memory::Input(index) => &self.inputs[index],
            Memory::Resident(index) => &shared.residents[index],
            Memory::Page(list, index) => &shared.pages[&(list, index)],
            Memory::Control => &shared.control,
            Memory::Table(_) => unreachable!("tables are bound only when the plan is prepared"),
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

    /// Bytes of all inputs and the step's numbers.
    pub(super) fn upload_bytes(&self) -> u64 {
        let inputs = self.plan.inputs.values().map(|desc| desc.bytes() as u64).sum::<u64>();
        inputs + Step::default().bytes().len() as u64
    }

    pub(super) fn poison(&self, gpu: &Gpu) {
        for buffer in &self.temporaries {
            // All bits set is a NaN as f32 and as two f16.
            let nan = vec![u32::MAX; (buffer.size() / 4) as usize];
            gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&nan));
        }
    }

    pub(super) fn result_bytes(&self) -> u64 {
        self.results.iter().map(|(_, place)| place.bytes).sum::<u64>().max(4)
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

/// The uniform blocks of a plan's dispatches in one buffer.
struct Params {
    buffer: wgpu::Buffer,
    offsets: Vec<u64>,
    pipelines: Vec<Arc<Pipeline>>,
}

impl Params {
    fn new(session: &Session, plan: &Plan) -> Params {
        let align = session.gpu.device.limits().min_uniform_buffer_offset_alignment as usize;
        let pipelines_by_key = lock(&session.gpu.pipelines);
        let (mut content, mut offsets, mut pipelines) = (vec![], vec![], vec![]);
        for command in &plan.commands {
            let Command::Dispatch { dispatch, .. } = command else { continue };
            let pipeline = &pipelines_by_key[&key(dispatch.shader, dispatch.entry, &dispatch.variant)];
            offsets.push(content.len() as u64);
            content.extend(pipeline.entry.params_bytes(dispatch));
            content.resize(content.len().next_multiple_of(align), 0);
            pipelines.push(pipeline.clone());
        }
        content.resize(content.len() + align, 0);
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let size = content.len() as u64;
        let descriptor =
            wgpu::BufferDescriptor { label: Some("params"), size, usage, mapped_at_creation: false };
        let buffer = session.gpu.device.create_buffer(&descriptor);
        session.gpu.queue.write_buffer(&buffer, 0, &content);
        Params { buffer, offsets, pipelines }
    }
}
