use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::device::{Gpu, lock};
use super::pipelines::{Pipeline, Spawner, key};
use super::readback::Readback;
use crate::error::{Error, Result};
use crate::graph::Step;
use crate::plan::{
    Command, Control, Data, Finished, Memory, PageList, PageSet, Place, Plan, Program, StepReport,
};

/// Runs the graphs of a program on a GPU. Steps are submitted without waiting; results are collected later, in order.
pub struct Session {
    gpu: Arc<Gpu>,
    program: Arc<Program>,
    plans: Vec<PreparedPlan>,
    pages: HashMap<(PageList, usize), wgpu::Buffer>,
    control: wgpu::Buffer,
    step: wgpu::Buffer,
    in_flight: VecDeque<InFlight>,
    poison: bool,
}

/// A plan with its buffers, and its commands ready to be encoded.
struct PreparedPlan {
    plan: Plan,
    inputs: Vec<wgpu::Buffer>,
    temporaries: Vec<wgpu::Buffer>,
    commands: Vec<Prepared>,
    /// What is read back after each run, and where it lies in the staging buffer.
    results: Vec<(String, Place)>,
    staging: Vec<wgpu::Buffer>,
}

enum Prepared {
    Dispatch { pipeline: Arc<Pipeline>, bind_group: wgpu::BindGroup, workgroups: [u32; 3] },
    Copy { from: (wgpu::Buffer, u64), to: (wgpu::Buffer, u64), bytes: u64 },
}

struct InFlight {
    graph: usize,
    step: u64,
    readback: Readback,
}

impl Session {
    /// Lowers the program for the device, creates its pipelines and buffers; all pages start zeroed.
    pub async fn new(gpu: Arc<Gpu>, program: Arc<Program>, spawner: Spawner<'_>) -> Result<Session> {
        let pages = create_pages(&gpu, &program).await?;
        let words = Control::WORDS as u64 * 4;
        let control = gpu.scoped("the control words", || gpu.buffer("control", words)).await?;
        let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let step = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("step"),
            size: Step::default().bytes().len() as u64,
            usage: uniform,
            mapped_at_creation: false,
        });
        let mut session = Session {
            gpu,
            program,
            plans: vec![],
            pages,
            control,
            step,
            in_flight: VecDeque::new(),
            poison: false,
        };
        for graph in &session.program.graphs {
            let plan = Plan::lower(&session.program, graph, &session.gpu.capabilities)?;
            session.gpu.prepare(&plan, spawner).await?;
            let prepared = PreparedPlan::new(&session, plan).await?;
            session.plans.push(prepared);
        }
        Ok(session)
    }

    /// The same, filling temporary memory with NaN before each run: reading what nothing wrote is loud.
    pub fn poisoned(mut self) -> Session {
        self.poison = true;
        self
    }

    /// Bytes of all buffers on the device.
    pub fn device_bytes(&self) -> u64 {
        let pages: u64 = self.pages.values().map(wgpu::Buffer::size).sum();
        let plans = self.plans.iter().flat_map(|plan| plan.temporaries.iter().chain(&plan.inputs));
        pages + plans.map(wgpu::Buffer::size).sum::<u64>()
    }

    /// Queues a run of a graph: an update, if the graph has gradients and the program an optimizer.
    pub fn submit(&mut self, graph: usize, inputs: &[(&str, Data<'_, f32>)], step: &Step) -> Result<()> {
        self.gpu.check()?;
        let plan = &mut self.plans[graph];
        plan.write_inputs(&self.gpu, inputs);
        self.gpu.queue.write_buffer(&self.step, 0, &step.bytes());
        if self.poison {
            plan.poison(&self.gpu);
        }
        let mut encoder =
            self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("step") });
        encode(&plan.commands, &mut encoder);
        let staging = plan.staging.pop().unwrap_or_else(|| self.gpu.staging(plan.result_bytes()));
        let mut offset = 0;
        for (_, place) in &plan.results {
            let source = match place.memory {
                Memory::Control => &self.control,
                memory => plan.buffer(memory, &self.pages, &self.control),
            };
            encoder.copy_buffer_to_buffer(source, place.offset, &staging, offset, place.bytes);
            offset += place.bytes;
        }
        let submission = self.gpu.queue.submit([encoder.finish()]);
        let readback = Readback::start(staging, submission);
        self.in_flight.push_back(InFlight { graph, step: u64::from(step.step) + 1, readback });
        self.gpu.check()
    }

    /// The oldest run that is in flight, once it is done; none if at most `leave` are in flight.
    pub async fn collect(&mut self, leave: usize) -> Result<Option<Finished>> {
        if self.in_flight.len() <= leave {
            return Ok(None);
        }
        let Some(InFlight { graph, step, readback }) = self.in_flight.pop_front() else { return Ok(None) };
        let (bytes, staging) = readback.finish(&self.gpu).await?;
        let plan = &mut self.plans[graph];
        plan.staging.push(staging);
        let words: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
        if plan.plan.updates {
            let report = Some(StepReport::from_control(step, &words));
            return Ok(Some(Finished { graph, report, outputs: HashMap::new() }));
        }
        let mut outputs = HashMap::new();
        let mut at = 0;
        for (name, place) in &plan.results {
            let len = (place.bytes / 4) as usize;
            outputs.insert(name.clone(), words[at..at + len].to_vec());
            at += len;
        }
        Ok(Some(Finished { graph, report: None, outputs }))
    }

    /// Runs each dispatch of a graph by itself, with whatever is in memory, and gives each one's label and the seconds
    /// that `clock` counted for it.
    pub async fn profile(&mut self, graph: usize, clock: &dyn Fn() -> f64) -> Result<Vec<(String, f64)>> {
        let plan = &self.plans[graph];
        let labels = plan.plan.commands.iter().map(|command| match command {
            Command::Dispatch { label, dispatch } => {
                format!("{label} ({}.{})", dispatch.shader, dispatch.entry)
            }
            Command::Copy { .. } => "copy".to_string(),
        });
        let mut times = vec![];
        for (label, command) in labels.zip(&plan.commands) {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            encode(std::slice::from_ref(command), &mut encoder);
            let began = clock();
            let submission_index = Some(self.gpu.queue.submit([encoder.finish()]));
            let wait = wgpu::PollType::Wait { submission_index, timeout: None };
            let polled = self.gpu.device.poll(wait);
            self.gpu.check()?;
            polled.map_err(|error| Error::Device {
                device: self.gpu.name.clone(),
                message: error.to_string(),
            })?;
            times.push((label, clock() - began));
        }
        Ok(times)
    }

    /// Overwrites the pages of a list.
    pub fn write_pages(&mut self, list: PageList, pages: &[Vec<f32>]) {
        for (index, page) in pages.iter().enumerate() {
            if let Some(buffer) = self.pages.get(&(list, index)) {
                self.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(page));
            }
        }
    }

    /// Reads the pages of a list, as they are after all that is queued.
    pub async fn read_pages(&mut self, list: PageList) -> Result<Vec<Vec<f32>>> {
        let mut pages = vec![];
        for index in 0.. {
            let Some(buffer) = self.pages.get(&(list, index)) else { break };
            let staging = self.gpu.staging(buffer.size());
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
            let submission = self.gpu.queue.submit([encoder.finish()]);
            let (bytes, _) = Readback::start(staging, submission).finish(&self.gpu).await?;
            pages.push(bytemuck::pod_collect_to_vec(&bytes));
        }
        Ok(pages)
    }
}

impl PreparedPlan {
    async fn new(session: &Session, plan: Plan) -> Result<PreparedPlan> {
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
        let mut prepared =
            PreparedPlan { plan, inputs, temporaries, commands: vec![], results, staging: vec![] };
        let commands = gpu.scoped("the bind groups", || prepared.prepare_commands(session, &tables)).await?;
        prepared.commands = commands;
        Ok(prepared)
    }

    fn prepare_commands(&self, session: &Session, tables: &[wgpu::Buffer]) -> Vec<Prepared> {
        let params = Params::new(session, &self.plan);
        let buffer = |memory: Memory| match memory {
            Memory::Table(index) => &tables[index],
            memory => self.buffer(memory, &session.pages, &session.control),
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
                            let size = wgpu::BufferSize::new(bytes);
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

    fn buffer<'a>(
        &'a self,
        memory: Memory,
        pages: &'a HashMap<(PageList, usize), wgpu::Buffer>,
        control: &'a wgpu::Buffer,
    ) -> &'a wgpu::Buffer {
        match memory {
            Memory::Temporary(index) => &self.temporaries[index],
            Memory::Input(index) => &self.inputs[index],
            Memory::Page(list, index) => &pages[&(list, index)],
            Memory::Control => control,
            Memory::Table(_) => unreachable!("tables are bound only when the plan is prepared"),
        }
    }

    fn write_inputs(&self, gpu: &Gpu, inputs: &[(&str, Data<'_, f32>)]) {
        for (index, name) in self.plan.inputs.keys().enumerate() {
            let data = inputs.iter().find(|(given, _)| given == name);
            let (_, data) = data.unwrap_or_else(|| panic!("no data for the input {name}"));
            let bytes: &[u8] = match data {
                Data::Real(values) => bytemuck::cast_slice(values),
                Data::Int(values) => bytemuck::cast_slice(values),
            };
            gpu.queue.write_buffer(&self.inputs[index], 0, bytes);
        }
    }

    fn poison(&self, gpu: &Gpu) {
        for buffer in &self.temporaries {
            let nan = vec![f32::NAN; (buffer.size() / 4) as usize];
            gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&nan));
        }
    }

    fn result_bytes(&self) -> u64 {
        self.results.iter().map(|(_, place)| place.bytes).sum::<u64>().max(4)
    }
}

/// Encodes commands: dispatches that follow each other share a pass.
fn encode(commands: &[Prepared], encoder: &mut wgpu::CommandEncoder) {
    let mut commands = commands.iter().peekable();
    while let Some(next) = commands.peek() {
        if let Prepared::Copy { from, to, bytes } = next {
            encoder.copy_buffer_to_buffer(&from.0, from.1, &to.0, to.1, *bytes);
            commands.next();
            continue;
        }
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        while let Some(Prepared::Dispatch { pipeline, bind_group, workgroups: [x, y, z] }) = commands.peek() {
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, bind_group, &[]);
            pass.dispatch_workgroups(*x, *y, *z);
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
            let pipeline = &pipelines_by_key[&key(dispatch.shader, dispatch.entry, &dispatch.constants)];
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

async fn create_pages(gpu: &Gpu, program: &Program) -> Result<HashMap<(PageList, usize), wgpu::Buffer>> {
    let (parameters, statistics) = (&program.pages.parameters, &program.pages.statistics);
    let mut lists: Vec<(PageList, &PageSet)> = vec![
        (PageList::Parameters, parameters),
        (PageList::Gradients, parameters),
        (PageList::Statistics, statistics),
        (PageList::BatchStatistics, statistics),
    ];
    lists.extend((0..program.slots().len()).map(|slot| (PageList::Slot(slot), parameters)));
    let mut pages = HashMap::new();
    for (list, set) in lists {
        for (index, &len) in set.page_lens().iter().enumerate() {
            let what = format!("a page of {list:?}, {} MiB", len * 4 >> 20);
            let buffer =
                gpu.scoped(&what, || gpu.buffer(&format!("{list:?} {index}"), len as u64 * 4)).await?;
            pages.insert((list, index), buffer);
        }
    }
    Ok(pages)
}

impl Gpu {
    /// A storage buffer; wgpu zeroes it before its first use.
    fn buffer(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.next_multiple_of(4).max(4),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })
    }

    fn table(&self, content: &[f32]) -> wgpu::Buffer {
        let buffer = self.buffer("table", content.len() as u64 * 4);
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(content));
        buffer
    }

    fn staging(&self, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }
}
