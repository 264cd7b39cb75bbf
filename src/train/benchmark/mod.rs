//! How fast a model trains or predicts, what a step spends its time on, and what the device could do at best.

mod peak;
mod process;
mod result;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::device::Device;
use super::micro_batches;
use super::program::{self, EVAL, TRAIN, Task};
use super::recipe::{Algorithm, Recompute};
use super::session::Session;
use super::weights;
use crate::error::Result;
use crate::graph::{NodeKind, Step};
use crate::models::Model;
use crate::plan::{Data, KernelTime, PageList, Program};
use crate::tensor::{CounterRng, Purpose};

pub use peak::{Peak, peak};
pub use result::{Benchmark, Kernel, Profile};

/// Runs of a profile; the time of a kernel is the median over them.
const PROFILED_RUNS: usize = 5;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct BenchmarkSettings {
    /// Steps that are not counted, before those that are.
    pub warmup: usize,
    /// Steps to time.
    pub steps: usize,
    /// The optimizer; none measures inference.
    pub algorithm: Option<Algorithm>,
    /// Whether to compute layer by layer, without fusion.
    pub unfused: bool,
    /// Whether activations that are cheap to make again are kept for the backward pass.
    pub recompute: Recompute,
    /// Whether to time each kernel of a step.
    pub profile: bool,
    /// When the process started.
    pub started: Instant,
}

/// Trains `model` on random images, or predicts what is in them, and times the steps.
pub async fn benchmark(
    model: &Model,
    task: &Task,
    device: &Device,
    settings: &BenchmarkSettings,
) -> Result<Benchmark> {
    let program = Arc::new(program_of(model, task, device, settings)?);
    let mut session = Session::new(device, program.clone()).await?;
    write_initial(&program, &mut session);
    let mut measuring = Measuring { session, batch: random_batch(task), settings };
    let times = measuring.time_steps().await?;
    let device_bytes = measuring.session.device_bytes();
    let on_gpu = device_bytes.is_some();
    let predicted_bytes = on_gpu.then(|| micro_batches::predicted(device, &program)).transpose()?;
    let peak_resident_bytes = process::peak_resident_bytes();
    let kernels = if settings.profile { measuring.profile().await? } else { vec![] };
    let has_timestamps = measuring.session.has_timestamps();
    drop(measuring);
    let peak = peak(device).await?;
    let measured = result::Measured {
        device: device.name(),
        precision: task.precision,
        flops: flops(&program),
        times,
        kernels,
        has_timestamps,
        device_bytes,
        predicted_bytes: predicted_bytes.map(|memory| memory.total()),
        peak_resident_bytes,
        peak,
    };
    Ok(measured.summarize(model.name(), task.batch_size, settings))
}

/// The program whose first graph is timed.
fn program_of(model: &Model, task: &Task, device: &Device, settings: &BenchmarkSettings) -> Result<Program> {
    let Some(algorithm) = settings.algorithm else {
        if !settings.unfused {
            return program::inference(model, task, device);
        }
        let graph = program::unfused_graphs(model, task)?.swap_remove(EVAL);
        return Program::new(vec![graph], None, device.max_page_bytes());
    };
    let training = if settings.unfused { program::unfused_training } else { program::training };
    let mut program = training(model, task, algorithm.update(), 0.0, device)?;
    if settings.recompute.attempts(device)[0] {
        program.recompute()?;
    }
    Ok(program)
}

fn write_initial(program: &Program, session: &mut Session) {
    let pages = weights::all_pages(&program.pages, &weights::initial(&program.graphs[TRAIN], 0));
    for (list, pages) in [PageList::Parameters, PageList::Statistics].into_iter().zip(&pages) {
        session.write_pages(list, pages);
    }
}

/// Milliseconds of the timed steps, and when the first step was done.
struct Times {
    steps: Vec<f64>,
    /// Of these the time in which the host was busy with the step; none on the CPU, which is busy all the time.
    host: Vec<f64>,
    first: Duration,
    first_at: Duration,
}

/// A session in the middle of a benchmark.
struct Measuring<'a> {
    session: Session,
    batch: (Vec<f32>, Vec<i32>),
    settings: &'a BenchmarkSettings,
}

impl Measuring<'_> {
    async fn time_steps(&mut self) -> Result<Times> {
        let (mut steps, mut host) = (vec![], vec![]);
        let (mut first, mut first_at) = (Duration::ZERO, Duration::ZERO);
        let total = self.settings.warmup + self.settings.steps;
        let mut last = Instant::now();
        for number in 0.. {
            if steps.len() == total {
                break;
            }
            let (inputs, step) = (inputs(&self.batch), step(number, self.settings));
            let submitting = Instant::now();
            self.session.submit(TRAIN, &inputs, &step)?;
            host.push(submitting.elapsed().as_secs_f64() * 1e3);
            // The first step is waited for; then two stay in flight, as in training. Predictions are waited for.
            let leave = if number == 0 || self.settings.algorithm.is_none() { 0 } else { 2 };
            if self.session.collect(leave).await?.is_some() {
                if number == 0 {
                    first = self.settings.started.elapsed();
                    first_at = process::since_1970();
                } else {
                    steps.push(last.elapsed().as_secs_f64() * 1e3);
                }
                last = Instant::now();
            }
        }
        while self.session.collect(0).await?.is_some() {}
        let host = if let Session::Gpu(..) = self.session { host.split_off(1) } else { vec![] };
        Ok(Times { steps: steps.split_off(self.settings.warmup), host, first, first_at })
    }

    /// The kernels of a step, each with its median time; they begin when they did in the last run.
    async fn profile(&mut self) -> Result<Vec<KernelTime>> {
        let (inputs, step) = (inputs(&self.batch), step(0, self.settings));
        let mut runs = vec![];
        for _ in 0..PROFILED_RUNS {
            runs.push(self.session.profile(TRAIN, &inputs, &step).await?);
        }
        let mut last = runs.last().cloned().unwrap_or_default();
        for (index, kernel) in last.iter_mut().enumerate() {
            let mut seconds: Vec<f64> = runs.iter().map(|run| run[index].seconds).collect();
            seconds.sort_by(f64::total_cmp);
            kernel.seconds = seconds[PROFILED_RUNS / 2];
        }
        Ok(last)
    }
}

fn inputs((images, labels): &(Vec<f32>, Vec<i32>)) -> [(&'static str, Data<'_, f32>); 2] {
    [("images", Data::Real(images)), ("labels", Data::Int(labels))]
}

fn step(number: u32, settings: &BenchmarkSettings) -> Step {
    Step {
        step: number,
        learning_rate: 1e-3,
        clip_norm: f32::INFINITY,
        optimizer: settings
            .algorithm
            .map(|algorithm| algorithm.update().step_numbers(number + 1))
            .unwrap_or_default(),
        ..Default::default()
    }
}

fn random_batch(task: &Task) -> (Vec<f32>, Vec<i32>) {
    let mut rng = CounterRng::new(0, Purpose::Sample, "benchmark", 0);
    let pixels = task.batch_size * task.image.iter().product::<usize>();
    let images = (0..pixels).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect();
    let labels = (0..task.batch_size).map(|sample| (sample % task.classes) as i32).collect();
    (images, labels)
}

/// Floating-point operations of one step.
fn flops(program: &Program) -> u64 {
    let graph = &program.graphs[TRAIN];
    let needed = graph.needed();
    let nodes = graph.nodes().iter().zip(needed).filter(|(_, needed)| *needed);
    let counts = nodes.map(|(node, _)| match &node.kind {
        NodeKind::Op(op) => {
            let inputs: Vec<_> = node.inputs.iter().map(|value| graph.desc(*value).clone()).collect();
            op.flops(&inputs, &node.outputs)
        }
        _ => 0,
    });
    counts.sum()
}
