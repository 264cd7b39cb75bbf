use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use serde::Serialize;

use super::device::Device;
use super::program::{self, TRAIN, Task};
use super::session::Session;
use super::weights;
use crate::error::Result;
use crate::graph::{NodeKind, Step};
use crate::models::Model;
use crate::optim::Sgd;
use crate::plan::{Data, PageList};
use crate::tensor::{CounterRng, Purpose};

/// How fast a model trains on random images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Benchmark {
    /// The model's name.
    pub model: String,
    /// The device's name.
    pub device: String,
    /// Images per step.
    pub batch_size: usize,
    /// Steps that were timed, after the warm-up.
    pub steps: usize,
    /// Median time of a step: forward, loss, backward, optimizer.
    pub ms_per_step: f64,
    /// Time that one in ten steps stays under.
    pub ms_per_step_p10: f64,
    /// Time that nine in ten steps stay under.
    pub ms_per_step_p90: f64,
    /// Images per second at the median.
    pub img_per_s: f64,
    /// Floating-point operations of the step's convolutions and products, over the median time.
    pub gflop_per_s: f64,
    /// Bytes of all buffers on the GPU; none on the CPU.
    pub device_bytes: Option<u64>,
    /// From the start of preparations to the end of the first step.
    pub ms_to_first_step: f64,
    /// Each dispatch of a step, run by itself, with its time in milliseconds; empty on the CPU.
    pub kernels: Vec<(String, f64)>,
}

/// Trains `model` by SGD with momentum on random images and times the steps after `warmup` ones.
pub async fn benchmark(
    model: &Model,
    task: &Task,
    device: &Device,
    warmup: usize,
    steps: usize,
) -> Result<Benchmark> {
    let began = Instant::now();
    let update = Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: false });
    let program = Arc::new(program::training(model, task, update, 0.0, device)?);
    let mut session = Session::new(device, program.clone()).await?;
    let [parameters, statistics] =
        weights::all_pages(&program.pages, &weights::initial(&program.graphs[TRAIN], 0));
    session.write_pages(PageList::Parameters, &parameters);
    session.write_pages(PageList::Statistics, &statistics);
    let (images, labels) = random_batch(task);
    let mut times = vec![];
    let mut first = Duration::ZERO;
    let mut last = Instant::now();
    for step in 0.. {
        if times.len() == warmup + steps {
            break;
        }
        let inputs = [("images", Data::Real(&images[..])), ("labels", Data::Int(&labels[..]))];
        let settings = Step {
            step: step as u32,
            learning_rate: 1e-3,
            clip_norm: f32::INFINITY,
            optimizer: [1.0, 0.0, 0.0, 0.0],
            ..Default::default()
        };
        session.submit(TRAIN, &inputs, &settings)?;
        // The first step is waited for; then two stay in flight, as in training.
        let leave = if step == 0 { 0 } else { 2 };
        if session.collect(leave).await?.is_some() {
            if step == 0 {
                first = began.elapsed();
            } else {
                times.push(last.elapsed().as_secs_f64() * 1e3);
            }
            last = Instant::now();
        }
    }
    while session.collect(0).await?.is_some() {}
    let kernels = session.profile(TRAIN).await?;
    let mut timed = times.split_off(warmup);
    timed.sort_by(f64::total_cmp);
    let quantile =
        |q: f64| timed.get(((timed.len() as f64 - 1.0) * q).round() as usize).copied().unwrap_or(f64::NAN);
    let median = quantile(0.5);
    Ok(Benchmark {
        model: model.name().to_string(),
        device: device.name(),
        batch_size: task.batch_size,
        steps: timed.len(),
        ms_per_step: median,
        ms_per_step_p10: quantile(0.1),
        ms_per_step_p90: quantile(0.9),
        img_per_s: task.batch_size as f64 / median * 1e3,
        gflop_per_s: flops(&program) / median / 1e6,
        device_bytes: session.device_bytes(),
        ms_to_first_step: first.as_secs_f64() * 1e3,
        kernels,
    })
}

fn random_batch(task: &Task) -> (Vec<f32>, Vec<i32>) {
    let mut rng = CounterRng::new(0, Purpose::Sample, "benchmark", 0);
    let pixels = task.batch_size * task.image.iter().product::<usize>();
    let images = (0..pixels).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect();
    let labels = (0..task.batch_size).map(|sample| (sample % task.classes) as i32).collect();
    (images, labels)
}

/// Floating-point operations of one training step.
fn flops(program: &crate::plan::Program) -> f64 {
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
    counts.sum::<u64>() as f64
}
