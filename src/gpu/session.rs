use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::device::Gpu;
use super::pipelines::Spawner;
use super::prepared::{PreparedPlan, bytes_of, encode};
use super::readback::Readback;
use super::upload::{Upload, Uploading};
use crate::error::{Error, Result};
use crate::graph::{Capabilities, LossScale, Step};
use crate::plan::{
    Control, Data, Finished, MemoryUse, PageList, Plan, Program, StepReport, buffer_bytes, micro_inputs,
    page_lists, shared_temporaries,
};

/// Bytes of a resident that are uploaded at once.
const UPLOAD_PIECE: usize = 16 << 20;

/// Runs the graphs of a program on a GPU. Steps are submitted without waiting; results are collected later, in order.
pub struct Session {
    pub(super) gpu: Arc<Gpu>,
    program: Arc<Program>,
    pub(super) plans: Vec<PreparedPlan>,
    pub(super) shared: Shared,
    in_flight: VecDeque<InFlight>,
    poison: bool,
}

/// Buffers that all plans of a session use.
pub(super) struct Shared {
    pub(super) pages: HashMap<(PageList, usize), wgpu::Buffer>,
    pub(super) residents: Vec<wgpu::Buffer>,
    pub(super) temporaries: Vec<wgpu::Buffer>,
    pub(super) control: wgpu::Buffer,
    pub(super) step: wgpu::Buffer,
}

struct InFlight {
    graph: usize,
    step: u64,
    readback: Readback,
    upload: Option<Uploading>,
}

impl Session {
    /// Lowers the program for the device, creates its buffers and all pipelines; all pages start zeroed.
    pub async fn new(gpu: Arc<Gpu>, program: Arc<Program>, spawner: Spawner<'_>) -> Result<Session> {
        let capabilities = gpu.capabilities.clone();
        Session::with_capabilities(gpu, program, &capabilities, spawner).await
    }

    /// [`Session::new`] as if the device had other capabilities: lower ones, or other kernels.
    pub async fn with_capabilities(
        gpu: Arc<Gpu>,
        program: Arc<Program>,
        capabilities: &Capabilities,
        spawner: Spawner<'_>,
    ) -> Result<Session> {
        let graphs = program.graphs.len();
        let mut session = Session::lowered_for(gpu, program, capabilities).await?;
        for graph in 0..graphs {
            session.prepare(graph, spawner).await?;
        }
        Ok(session)
    }

    /// The same with nothing compiled: each graph is to be prepared before it is first run.
    pub async fn unprepared(gpu: Arc<Gpu>, program: Arc<Program>) -> Result<Session> {
        let capabilities = gpu.capabilities.clone();
        Session::lowered_for(gpu, program, &capabilities).await
    }

    async fn lowered_for(
        gpu: Arc<Gpu>,
        program: Arc<Program>,
        capabilities: &Capabilities,
    ) -> Result<Session> {
        let lower = |graph| Plan::lower(&program, graph, capabilities);
        let plans = program.graphs.iter().map(lower).collect::<Result<Vec<Plan>>>()?;
        let predicted = MemoryUse::of(&program, &plans);
        let shared = Shared::new(&gpu, &program, &plans).await?;
        let mut prepared = vec![];
        for plan in plans {
            prepared.push(PreparedPlan::new(&gpu, plan).await?);
        }
        let (in_flight, poison) = (VecDeque::new(), false);
        let session = Session { gpu, program, plans: prepared, shared, in_flight, poison };
        debug_assert_eq!(session.device_bytes(), predicted.total(), "predicted: {predicted:?}");
        Ok(session)
    }

    /// Compiles what a graph needs, if that has not been done.
    pub async fn prepare(&mut self, graph: usize, spawner: Spawner<'_>) -> Result<()> {
        let plan = &mut self.plans[graph];
        if plan.commands.is_none() {
            self.gpu.prepare(&plan.plan, spawner).await?;
            plan.prepare(&self.gpu, &self.shared).await?;
        }
        Ok(())
    }

    /// The same, filling temporary memory with NaN before each run: reading what nothing wrote is loud.
    pub fn poisoned(mut self) -> Session {
        self.poison = true;
        self
    }

    /// Bytes of all buffers on the device.
    pub fn device_bytes(&self) -> u64 {
        self.shared.bytes() + self.plans.iter().map(PreparedPlan::bytes).sum::<u64>()
    }

    /// Queues a run of a graph: an update, if the graph has gradients and the program an optimizer.
    pub fn submit(&mut self, graph: usize, inputs: &[(&str, Data<'_, f32>)], step: &Step) -> Result<()> {
        let program = self.program.clone();
        let count = program.micro_batches(graph);
        if count == 1 {
            return self.submit_part(graph, inputs, step);
        }
        (0..count).try_for_each(|index| {
            let step = program.micro_step(graph, step, index);
            self.submit_part(graph, &micro_inputs(inputs, index, count), &step)
        })
    }

    /// Queues a micro-batch, or a whole run. Only the last micro-batch updates and is read back.
    fn submit_part(&mut self, graph: usize, inputs: &[(&str, Data<'_, f32>)], step: &Step) -> Result<()> {
        self.gpu.check()?;
        let last = step.micro_batch + 1 >= step.micro_batches;
        let plan = &mut self.plans[graph];
        if self.poison {
            self.shared.poison(&self.gpu);
        }
        let mut encoder =
            self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("step") });
        // Micro-batches are not waited for one by one, so there is no telling when a buffer's turn would come again.
        let upload = (step.micro_batches <= 1)
            .then(|| plan.uploads.pop().unwrap_or_else(|| Upload::new(&self.gpu, plan.plan.upload_bytes())));
        let step_block = step.bytes();
        let parts = plan.parts(inputs).chain([(&self.shared.step, &step_block[..])]);
        match &upload {
            Some(upload) => upload.fill(&self.gpu, &mut encoder, parts)?,
            None => parts.for_each(|(buffer, bytes)| self.gpu.write(buffer, 0, bytes)),
        }
        let commands = plan.ready(&self.gpu)?;
        encode(if last { commands } else { &commands[..plan.plan.update_from] }, &mut encoder);
        if !last {
            self.gpu.queue.submit([encoder.finish()]);
            return self.gpu.check();
        }
        let staging = plan.staging.pop().unwrap_or_else(|| self.gpu.staging(plan.plan.result_bytes()));
        let mut offset = 0;
        for (_, place) in &plan.results {
            let source = plan.buffer(place.memory, &self.shared);
            encoder.copy_buffer_to_buffer(source, place.offset, &staging, offset, place.bytes);
            offset += place.bytes;
        }
        let submission = self.gpu.queue.submit([encoder.finish()]);
        let readback = Readback::start(staging, submission);
        let upload = upload.map(Upload::submitted);
        self.in_flight.push_back(InFlight { graph, step: u64::from(step.step) + 1, readback, upload });
        self.gpu.check()
    }

    /// The oldest run that is in flight, once it is done; none if at most `leave` are in flight.
    pub async fn collect(&mut self, leave: usize) -> Result<Option<Finished>> {
        if self.in_flight.len() <= leave {
            return Ok(None);
        }
        let Some(InFlight { graph, step, readback, upload }) = self.in_flight.pop_front() else {
            return Ok(None);
        };
        let (bytes, staging) = readback.finish(&self.gpu).await?;
        let plan = &mut self.plans[graph];
        plan.staging.push(staging);
        if let Some(upload) = upload {
            plan.uploads.extend(upload.finish().await);
        }
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

    /// Uploads the program's `index`-th resident, piece by piece: the copies on their way are never large.
    pub async fn write_resident(&mut self, index: usize, data: &Data<'_, f32>) -> Result<()> {
        for (piece, bytes) in bytes_of(data).chunks(UPLOAD_PIECE).enumerate() {
            self.gpu.write(&self.shared.residents[index], (piece * UPLOAD_PIECE) as u64, bytes);
            let submission_index = Some(self.gpu.queue.submit([]));
            let polled = self.gpu.device.poll(wgpu::PollType::Wait { submission_index, timeout: None });
            self.gpu.check()?;
            polled.map_err(|error| Error::Device {
                device: self.gpu.name.clone(),
                message: error.to_string(),
            })?;
        }
        Ok(())
    }

    /// Sets the scale of the next step's gradients.
    pub fn set_loss_scale(&mut self, loss_scale: LossScale) {
        let words = Control::initial(loss_scale);
        self.gpu.queue.write_buffer(&self.shared.control, 0, bytemuck::cast_slice(&words));
    }

    /// Overwrites the pages of a list.
    pub fn write_pages(&mut self, list: PageList, pages: &[Vec<f32>]) {
        for (index, page) in pages.iter().enumerate() {
            if let Some(buffer) = self.shared.pages.get(&(list, index)) {
                self.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(page));
            }
        }
    }

    /// Exchanges two lists of pages that are laid out alike, after all that is queued.
    pub async fn swap_pages(&mut self, [a, b]: [PageList; 2]) -> Result<()> {
        for index in 0.. {
            let buffers = [a, b].map(|list| self.shared.pages.get(&(list, index)));
            let [Some(a), Some(b)] = buffers else { break };
            let held = self.gpu.scoped("a page", || self.gpu.buffer("swap", a.size())).await?;
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            for (from, to) in [(a, &held), (b, a), (&held, b)] {
                encoder.copy_buffer_to_buffer(from, 0, to, 0, a.size());
            }
            self.gpu.queue.submit([encoder.finish()]);
        }
        self.gpu.check()
    }

    /// Reads the pages of a list, as they are after all that is queued.
    pub async fn read_pages(&mut self, list: PageList) -> Result<Vec<Vec<f32>>> {
        let mut pages = vec![];
        for index in 0.. {
            let Some(buffer) = self.shared.pages.get(&(list, index)) else { break };
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

impl Shared {
    async fn new(gpu: &Gpu, program: &Program, plans: &[Plan]) -> Result<Shared> {
        let pages = create_pages(gpu, program).await?;
        let residents = create_residents(gpu, program).await?;
        let sizes = shared_temporaries(plans);
        let what = format!("the plan's {} MiB of activations", sizes.iter().sum::<u64>() >> 20);
        let create = || sizes.iter().map(|&bytes| gpu.buffer("temporary", bytes)).collect();
        let temporaries = gpu.scoped(&what, create).await?;
        let words = Control::WORDS as u64 * 4;
        let control = gpu.scoped("the control words", || gpu.buffer("control", words)).await?;
        let initial = Control::initial(program.initial_loss_scale());
        gpu.queue.write_buffer(&control, 0, bytemuck::cast_slice(&initial));
        let step = gpu.uniform("step", Step::BYTES);
        Ok(Shared { pages, residents, temporaries, control, step })
    }

    fn bytes(&self) -> u64 {
        let buffers = self.pages.values().chain(&self.residents).chain(&self.temporaries);
        buffers.chain([&self.control, &self.step]).map(wgpu::Buffer::size).sum()
    }

    fn poison(&self, gpu: &Gpu) {
        for buffer in &self.temporaries {
            // All bits set is a NaN as f32 and as two f16.
            let nan = vec![u32::MAX; (buffer.size() / 4) as usize];
            gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&nan));
        }
    }
}

async fn create_pages(gpu: &Gpu, program: &Program) -> Result<HashMap<(PageList, usize), wgpu::Buffer>> {
    let mut pages = HashMap::new();
    for (list, set) in page_lists(program) {
        for (index, &len) in set.page_lens().iter().enumerate() {
            let what = format!("a page of {list:?}, {} MiB", (len * 4) >> 20);
            let buffer =
                gpu.scoped(&what, || gpu.buffer(&format!("{list:?} {index}"), len as u64 * 4)).await?;
            pages.insert((list, index), buffer);
        }
    }
    Ok(pages)
}

async fn create_residents(gpu: &Gpu, program: &Program) -> Result<Vec<wgpu::Buffer>> {
    let mut residents = vec![];
    for (name, desc) in &program.residents {
        let bytes = desc.bytes() as u64;
        let what = format!("{name}, {} MiB", bytes >> 20);
        residents.push(gpu.scoped(&what, || gpu.buffer(name, bytes)).await?);
    }
    Ok(residents)
}

impl Gpu {
    /// Queues a write to a buffer whose last word may be longer than the bytes, which wgpu wants in whole words.
    pub(super) fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        let (words, rest) = bytes.split_at(bytes.len() / 4 * 4);
        self.queue.write_buffer(buffer, offset, words);
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            self.queue.write_buffer(buffer, offset + words.len() as u64, &last);
        }
    }

    /// A storage buffer; wgpu zeroes it before its first use.
    pub(super) fn buffer(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: buffer_bytes(bytes),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })
    }

    pub(super) fn uniform(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    pub(super) fn table(&self, content: &[f32]) -> wgpu::Buffer {
        let buffer = self.buffer("table", content.len() as u64 * 4);
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(content));
        buffer
    }

    pub(super) fn staging(&self, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }
}
