use std::sync::Arc;
use std::time::Instant;

use rand::RngExt;
use serde::Serialize;

use super::augmented::TrainFeed;
use super::device::Device;
use super::feed::{Feed, Placement};
use super::program::{self, Optimizing, TRAIN, Task};
use super::recipe::{Algorithm, Precision};
use super::session::Session;
use super::weights;
use crate::augment::{Augmentation, Mixing};
use crate::data::{Dataset, End, Images, Loader, LoaderOptions, Order, Position, Split};
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
    /// What is done to each image.
    pub augmentation: Augmentation,
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
    /// What an image goes through on that one, each stage by itself.
    pub stages: Vec<Stage>,
    /// The slowest of them.
    pub bottleneck: &'static str,
}

/// A part of the way from the data set through the network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// `decode`: batches are read and decoded on the host; `upload`: their bytes are brought to the device; `augment`: the
    /// device makes the network's input of them; `model`: a training step.
    pub stage: &'static str,
    /// Images per second if this were all that is done.
    pub img_per_s: f64,
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
    let ready = Dataset { train: random_split(&task, task.image)?, ..data.clone() };
    let model_img_per_s = bench.network(&ready, Placement::Auto, Augmentation::NONE).await?;
    let mut placements = vec![Placement::Streamed];
    if matches!(Feed::choose(data, device, Placement::Auto)[TRAIN], Feed::Resident { .. }) {
        placements.insert(0, Placement::Auto);
    }
    let mut inputs = vec![];
    for placement in placements.iter().copied() {
        let input_img_per_s = bench.input(data, placement, settings.augmentation).await?;
        let together_img_per_s = bench.network(data, placement, settings.augmentation).await?;
        inputs.push(InputRates {
            placement: if placement == Placement::Auto { "resident" } else { "streamed" },
            input_img_per_s,
            together_img_per_s,
            bottleneck: if input_img_per_s < model_img_per_s { "input" } else { "model" },
        });
    }
    let stages = bench.stages(data, placements[0] == Placement::Streamed, model_img_per_s).await?;
    let slowest = stages.iter().min_by(|a, b| a.img_per_s.total_cmp(&b.img_per_s));
    Ok(InputBenchmark {
        bottleneck: slowest.map_or("model", |stage| stage.stage),
        model: model.name().to_string(),
        device: device.name(),
        data: data.name.clone(),
        batch_size: settings.batch_size,
        steps: settings.steps,
        model_img_per_s,
        inputs,
        stages,
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
    async fn input(&self, data: &Dataset, placement: Placement, augmentation: Augmentation) -> Result<f64> {
        let [feed, _] = Feed::choose(data, self.device, placement);
        let feed = self.augmenting(feed, augmentation, data)?;
        let mut graph = Graph::new(Mode::Eval);
        let fed = feed.build(&mut graph, &self.task)?;
        // The images are made along with the labels; an output is read back, which would count the images twice.
        graph.output("labels", fed.labels);
        let program = Program::new(vec![graph], None, self.device.max_page_bytes())?;
        let mut session = Session::new(self.device, Arc::new(program)).await?;
        self.time(&mut session, feed, data).await
    }

    /// Each stage of the way that training takes, which streams or not.
    async fn stages(&self, data: &Dataset, streams: bool, model_img_per_s: f64) -> Result<Vec<Stage>> {
        let train = random_split(&self.task, data.train.image())?;
        let ready = Dataset { train, ..data.clone() };
        let plain = self.input(&ready, Placement::Auto, Augmentation::NONE).await?;
        let mut stages = vec![];
        if streams {
            stages.push(Stage { stage: "decode", img_per_s: self.decode(data)? });
            // What a batch takes longer that does not lie ready; on the CPU that may be nothing.
            let uploaded = self.input(&ready, Placement::Streamed, Augmentation::NONE).await?;
            let seconds = 1.0 / uploaded - 1.0 / plain;
            if seconds > 0.0 {
                stages.push(Stage { stage: "upload", img_per_s: 1.0 / seconds });
            }
        }
        let img_per_s = match self.settings.augmentation == Augmentation::NONE {
            true => plain,
            false => self.input(&ready, Placement::Auto, self.settings.augmentation).await?,
        };
        stages.push(Stage { stage: "augment", img_per_s });
        stages.push(Stage { stage: "model", img_per_s: model_img_per_s });
        Ok(stages)
    }

    /// Images per second of batches that are made on the host, for nobody.
    fn decode(&self, data: &Dataset) -> Result<f64> {
        let InputBenchmarkSettings { batch_size, warmup, steps, .. } = *self.settings;
        let options = LoaderOptions { batch_size, order: shuffled(), pixels: true };
        let mut loader = Loader::spawn(&data.train, options)?;
        let mut began = Instant::now();
        for number in 0..warmup + steps {
            if number == warmup {
                began = Instant::now();
            }
            let batch = loader.next().ok_or_else(ended)??;
            loader.reuse(batch);
        }
        Ok((batch_size * steps) as f64 / began.elapsed().as_secs_f64().max(1e-9))
    }

    /// The feed of a data set's training split with what is done to its images.
    fn augmenting(&self, feed: Feed, augmentation: Augmentation, data: &Dataset) -> Result<TrainFeed> {
        TrainFeed::new(feed, (augmentation, Mixing::default()), &data.train, &self.task, 0)
    }

    /// Images per second of training.
    async fn network(&self, data: &Dataset, placement: Placement, augmentation: Augmentation) -> Result<f64> {
        let feeds = Feed::choose(data, self.device, placement);
        let feed = self.augmenting(feeds[TRAIN], augmentation, data)?;
        let optimizer = Optimizing::plain(self.settings.algorithm.update(), 0.0);
        let program =
            program::training_from((feed, feeds[1]), self.model, &self.task, &optimizer, self.device)?;
        let program = Arc::new(program);
        let mut session = Session::new(self.device, program.clone()).await?;
        let initial = weights::initial(&program.graphs[TRAIN], 0);
        let [parameters, statistics] = weights::all_pages(&program.pages, &initial);
        session.write_pages(PageList::Parameters, &parameters);
        session.write_pages(PageList::Statistics, &statistics);
        self.time(&mut session, feed, data).await
    }

    /// Runs the session's first graph on shuffled batches of the training split.
    async fn time(&self, session: &mut Session, feed: TrainFeed, data: &Dataset) -> Result<f64> {
        let InputBenchmarkSettings { batch_size, warmup, steps, .. } = *self.settings;
        feed.feed.install(session, &data.train, None).await?;
        let mut loader = feed.feed.loader(&data.train, batch_size, shuffled())?;
        let update = self.settings.algorithm.update();
        let mut began = Instant::now();
        for number in 0..warmup + steps {
            if number == warmup {
                while session.collect(0).await?.is_some() {}
                began = Instant::now();
            }
            let batch = loader.next().ok_or_else(ended)??;
            let drawn = feed.draw(&batch, &self.task);
            session.submit(
                TRAIN,
                &feed.inputs(&batch, &batch.places, &drawn),
                &step(number as u32, update.as_ref()),
            )?;
            loader.reuse(batch);
            while session.collect(IN_FLIGHT).await?.is_some() {}
        }
        while session.collect(0).await?.is_some() {}
        Ok((batch_size * steps) as f64 / began.elapsed().as_secs_f64().max(1e-9))
    }
}

/// Batches of the training split without end.
fn shuffled() -> Order {
    Order::Train { seed: 0, shuffle: true, start: Position::default(), end: End::Never }
}

fn ended() -> Error {
    Error::Data("the data ended".to_string())
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
fn random_split(task: &Task, image: [usize; 3]) -> Result<Split> {
    let mut rng = CounterRng::new(0, Purpose::Sample, "input benchmark", 0);
    let bytes = task.batch_size * image.iter().product::<usize>();
    let data = Arc::new((0..bytes).map(|_| rng.random::<u8>()).collect());
    let labels = (0..task.batch_size).map(|sample| (sample % task.classes.max(1)) as i32).collect();
    Split::new(Images::U8 { data, scale: 1.0 / 255.0 }, labels, image)
}
