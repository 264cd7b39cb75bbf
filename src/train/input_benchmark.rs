use std::sync::Arc;
use std::time::Instant;

use rand::RngExt;
use serde::Serialize;

use super::device::Device;
use super::feed::{Feed, Placement};
use super::program::{self, Optimizing, TRAIN, Task};
use super::recipe::{Algorithm, Precision};
use super::session::Session;
use super::weights;
use crate::data::{Dataset, End, Images, Order, Position, Split};
use crate::error::{Error, Result};
use crate::graph::{Graph, Mode, Step, Update};
use crate::models::Model;
use crate::plan::{PageList, Program};
use crate::tensor::{CounterRng, Purpose};

/// Steps that are queued before the oldest one is waited for, as in training.
const IN_FLIGHT: usize = 2;

/// What is measured. All fields of these structs but this one's are fields of `wgrad bench --input-pipeline --json`.
#[derive(Clone, Debug)]
pub struct InputBenchmarkSettings {
    /// Images per step.
    pub batch_size: usize,
    /// Steps that are not counted, before those that are.
    pub warmup: usize,
    /// Steps to time.
    pub steps: usize,
    /// The optimizer.
    pub algorithm: Algorithm,
}

/// Images per second of the way from the data set to the network, of the network, and of both together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InputBenchmark {
    /// The model's name.
    pub model: String,
    /// The device's name.
    pub device: String,
    /// The data set's name.
    pub data: String,
    /// Images per step.
    pub batch_size: usize,
    /// Steps that were timed, after the warm-up.
    pub steps: usize,
    /// Training steps on one batch that lies ready on the device.
    pub model_img_per_s: f64,
    /// The ways in which the data set can reach the device, the one that training takes first.
    pub inputs: Vec<InputRates>,
}

/// One way from the data set to the network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InputRates {
    /// `resident`: the device keeps the data set; `streamed`: each batch is fetched, decoded and uploaded.
    pub placement: &'static str,
    /// Batches made ready for the network, which does not run.
    pub input_img_per_s: f64,
    /// Training steps on these batches.
    pub together_img_per_s: f64,
    /// `input` or `model`: which of the two is slower by itself.
    pub bottleneck: &'static str,
}

/// Measures a data set's way to the device, with the network and without, and the network by itself.
pub async fn input_benchmark(
    model: &Model,
    data: &Dataset,
    device: &Device,
    settings: &InputBenchmarkSettings,
) -> Result<InputBenchmark> {
    let task = Task {
        image: data.image,
        classes: data.classes.len(),
        batch_size: settings.batch_size,
        label_smoothing: 0.0,
        precision: Precision::F32,
    };
    let bench = Bench { model, device, settings, task };
    let ready = Dataset { train: random_split(&task)?, ..data.clone() };
    let model_img_per_s = bench.network(&ready, Placement::Auto).await?;
    let mut placements = vec![Placement::Streamed];
    if matches!(Feed::choose(data, device, Placement::Auto)[TRAIN], Feed::Resident { .. }) {
        placements.insert(0, Placement::Auto);
    }
    let mut inputs = vec![];
    for placement in placements {
        let input_img_per_s = bench.input(data, placement).await?;
        let together_img_per_s = bench.network(data, placement).await?;
        inputs.push(InputRates {
            placement: if placement == Placement::Auto { "resident" } else { "streamed" },
            input_img_per_s,
            together_img_per_s,
            bottleneck: if input_img_per_s < model_img_per_s { "input" } else { "model" },
        });
    }
    Ok(InputBenchmark {
        model: model.name().to_string(),
        device: device.name(),
        data: data.name.clone(),
        batch_size: settings.batch_size,
        steps: settings.steps,
        model_img_per_s,
        inputs,
    })
}

struct Bench<'a> {
    model: &'a Model,
    device: &'a Device,
    settings: &'a InputBenchmarkSettings,
    task: Task,
}

impl Bench<'_> {
    /// Images per second of a graph that gathers batches and does nothing with them.
    async fn input(&self, data: &Dataset, placement: Placement) -> Result<f64> {
        let [feed, _] = Feed::choose(data, self.device, placement);
        let mut graph = Graph::new(Mode::Eval);
        let (_, labels) = feed.build(&mut graph, &self.task)?;
        // The images are made along with the labels; an output is read back, which would count the images twice.
        graph.output("labels", labels);
        let program = Program::new(vec![graph], None, self.device.max_page_bytes())?;
        let mut session = Session::new(self.device, Arc::new(program)).await?;
        self.time(&mut session, feed, data).await
    }

    /// Images per second of training.
    async fn network(&self, data: &Dataset, placement: Placement) -> Result<f64> {
        let feeds = Feed::choose(data, self.device, placement);
        let optimizer = Optimizing::plain(self.settings.algorithm.update(), 0.0);
        let program = program::training_from(
            (feeds[0].into(), feeds[1]),
            self.model,
            &self.task,
            &optimizer,
            self.device,
        )?;
        let program = Arc::new(program);
        let mut session = Session::new(self.device, program.clone()).await?;
        let initial = weights::initial(&program.graphs[TRAIN], 0);
        let [parameters, statistics] = weights::all_pages(&program.pages, &initial);
        session.write_pages(PageList::Parameters, &parameters);
        session.write_pages(PageList::Statistics, &statistics);
        self.time(&mut session, feeds[TRAIN], data).await
    }

    /// Runs the session's first graph on shuffled batches of the training split.
    async fn time(&self, session: &mut Session, feed: Feed, data: &Dataset) -> Result<f64> {
        let InputBenchmarkSettings { batch_size, warmup, steps, .. } = *self.settings;
        feed.install(session, &data.train, None).await?;
        let order = Order::Train { seed: 0, shuffle: true, start: Position::default(), end: End::Never };
        let mut loader = feed.loader(&data.train, batch_size, order)?;
        let update = self.settings.algorithm.update();
        let mut began = Instant::now();
        for number in 0..warmup + steps {
            if number == warmup {
                while session.collect(0).await?.is_some() {}
                began = Instant::now();
            }
            let batch = loader.next().ok_or_else(|| Error::Data("the data ended".to_string()))??;
            session.submit(
                TRAIN,
                &feed.inputs(&batch, &batch.places),
                &step(number as u32, update.as_ref()),
            )?;
            loader.reuse(batch);
            while session.collect(IN_FLIGHT).await?.is_some() {}
        }
        while session.collect(0).await?.is_some() {}
        Ok((batch_size * steps) as f64 / began.elapsed().as_secs_f64().max(1e-9))
    }
}

fn step(number: u32, update: &dyn Update) -> Step {
    Step {
        step: number,
        learning_rate: 1e-3,
        clip_norm: f32::INFINITY,
        optimizer: update.step_numbers(number.saturating_add(1)),
        ..Step::default()
    }
}

/// One batch of random bytes: what any device keeps.
fn random_split(task: &Task) -> Result<Split> {
    let mut rng = CounterRng::new(0, Purpose::Sample, "input benchmark", 0);
    let bytes = task.batch_size * task.image.iter().product::<usize>();
    let data = Arc::new((0..bytes).map(|_| rng.random::<u8>()).collect());
    let labels = (0..task.batch_size).map(|sample| (sample % task.classes.max(1)) as i32).collect();
    Split::new(Images::U8 { data, scale: 1.0 / 255.0 }, labels, task.image)
}
