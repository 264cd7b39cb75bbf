use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::checkpoint::{Checkpoint, Progress, Totals, slot_lists, slot_pages};
use super::device::{Device, Environment};
use super::evaluation::{Evaluation, Evaluator};
use super::feed::Feed;
use super::metrics::{EpochLine, Line, Metrics, StepLine};
use super::micro_batches::{Fit, Fitted};
use super::program::{self, EVAL, TRAIN, Task};
use super::recipe::Length;
use super::run::{Run, RunModel};
use super::session::Session;
use super::settings::Settings;
use super::weights::{self, Tensors};
use crate::data::{Batch, Dataset, End, Loader, Normalization, Order, Position};
use crate::error::{Error, Result};
use crate::graph::{NodeKind, Step};
use crate::models::Model;
use crate::plan::{PageList, Program, StepReport};

/// Steps that are queued before the oldest one's report is waited for.
const IN_FLIGHT: usize = 2;

/// A finished step, for those who watch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepEvent {
    /// Steps done, this one included.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// The epoch, from 1.
    pub epoch: u32,
    /// Loss before the update.
    pub loss: f32,
    /// Images per step.
    pub batch_size: usize,
}

/// Someone who watches a run.
pub trait Observer {
    /// A step is done.
    fn step(&mut self, event: StepEvent);
    /// An epoch is done and evaluated.
    fn epoch(&mut self, line: &EpochLine, images_per_second: f64);
}

/// A training run.
pub struct Trainer<'d> {
    settings: Settings,
    task: Task,
    data: &'d Dataset,
    feeds: [Feed; 2],
    program: Arc<Program>,
    session: Session,
    recomputes: bool,
    about: RunModel,
    run: Option<(Run, Metrics)>,
    progress: Progress,
    clock: Clock,
}

/// Counts images since the last logged step and since the epoch's begin.
struct Clock {
    logged: (Instant, u64),
    epoch: (Instant, u64),
}

impl<'d> Trainer<'d> {
    /// Prepares a run from its initial weights ([`weights::initial`], or loaded ones).
    pub async fn new(
        model: &Model,
        data: &'d Dataset,
        normalization: Option<Normalization>,
        settings: Settings,
        device: &Device,
    ) -> Result<Trainer<'d>> {
        let mut task = Task {
            image: data.image,
            classes: data.classes.len(),
            batch_size: settings.batch_size,
            label_smoothing: settings.label_smoothing,
            precision: settings.precision,
        };
        let feeds = Feed::choose(data, device, settings.placement);
        let fit = Fit {
            batch_size: settings.batch_size,
            micro_batch_size: settings.micro_batch_size,
            memory_limit: settings.memory_limit,
            recompute: settings.recompute,
        };
        let build = |batch_size| {
            let task = Task { batch_size, ..task };
            let optimizer = (settings.update.clone(), settings.weight_decay);
            program::training_from(feeds, model, &task, optimizer, device)
        };
        let Fitted { program, mut session, micro_batch_size, recomputes } = fit.find(device, build).await?;
        task.batch_size = micro_batch_size;
        for (feed, split) in feeds.iter().zip([&data.train, &data.test]) {
            feed.install(&mut session, split, normalization.as_ref()).await?;
        }
        let about = RunModel {
            image: data.image,
            classes: data.classes.clone(),
            normalization,
            model: model.to_toml().unwrap_or_default().to_string(),
        };
        let progress = Progress {
            step: 0,
            epoch: 0,
            position: 0,
            seed: settings.seed,
            totals: Totals::default(),
            environment: Environment {
                precision: settings.precision.name().to_string(),
                ..device.environment()
            },
            loss_scale: program.initial_loss_scale(),
        };
        let initial = weights::initial(&program.graphs[TRAIN], settings.seed);
        let clock = Clock { logged: (Instant::now(), 0), epoch: (Instant::now(), 0) };
        let mut trainer = Trainer {
            settings,
            task,
            data,
            feeds,
            program,
            session,
            recomputes,
            about,
            run: None,
            progress,
            clock,
        };
        trainer.set_model(&initial);
        Ok(trainer)
    }

    /// Samples that a step takes in at a time; the batch size if it does so in one piece.
    pub fn micro_batch_size(&self) -> usize {
        self.task.batch_size
    }

    /// Whether activations are made again in the backward pass instead of being kept.
    pub fn recomputes(&self) -> bool {
        self.recomputes
    }

    /// The initial parameters and running statistics, to merge loaded ones into.
    pub fn initial(&self) -> Tensors {
        weights::initial(&self.program.graphs[TRAIN], self.settings.seed)
    }

    /// Overwrites parameters and running statistics.
    pub fn set_model(&mut self, tensors: &Tensors) {
        let [parameters, statistics] = weights::all_pages(&self.program.pages, tensors);
        self.session.write_pages(PageList::Parameters, &parameters);
        self.session.write_pages(PageList::Statistics, &statistics);
    }

    /// Writes metrics, checkpoints and the model into a run folder from now on. A new run has its first checkpoint at
    /// once, so that it can be resumed whenever it ends.
    pub async fn record_in(&mut self, run: Run) -> Result<()> {
        let Progress { step, epoch, position, .. } = self.progress;
        // The last epoch of a run may be cut short; it has its line all the same.
        let cut_short = position > 0 && step >= self.total_steps();
        let metrics = Metrics::open(&run.path, step, epoch + u32::from(cut_short))?;
        let is_new = !Checkpoint::exists(&run.path);
        self.run = Some((run, metrics));
        if is_new { self.checkpoint().await } else { Ok(()) }
    }

    /// Continues from a checkpoint.
    pub fn restore(&mut self, checkpoint: &Checkpoint, run: &Run) -> Result<()> {
        checkpoint.check(&run.path, &self.program)?;
        self.check_progress(&checkpoint.progress, run)?;
        self.set_model(&checkpoint.model);
        for (name, list) in slot_lists(&self.program.clone()) {
            if let Some(tensors) = checkpoint.optimizer.get(name) {
                let pages = slot_pages(&self.program, tensors);
                self.session.write_pages(list, &pages);
            }
        }
        let environment = self.progress.environment.clone();
        let same_precision = checkpoint.progress.environment.precision == environment.precision;
        let initial = self.program.initial_loss_scale();
        let loss_scale = if same_precision { checkpoint.progress.loss_scale } else { initial };
        self.session.set_loss_scale(loss_scale);
        self.progress = Progress { environment, loss_scale, ..checkpoint.progress.clone() };
        Ok(())
    }

    /// Fails if the recipe or the data set has changed so that the checkpoint's place in an epoch means another one.
    fn check_progress(&self, progress: &Progress, run: &Run) -> Result<()> {
        let steps_per_epoch = self.steps_per_epoch();
        let position = u64::from(progress.position);
        let steps = u64::from(progress.epoch) * steps_per_epoch + position;
        let samples = position * self.settings.batch_size as u64;
        let fits =
            position < steps_per_epoch && progress.step == steps && progress.totals.samples() == samples;
        if fits && progress.seed == self.settings.seed && steps < u64::from(u32::MAX) {
            return Ok(());
        }
        let message = format!(
            "has a checkpoint of step {} in epoch {}, which is another place with this seed, batch size and number of \
             images: restore recipe.toml and the data as they were",
            progress.step,
            u64::from(progress.epoch) + 1
        );
        Err(Error::file(&run.path, message))
    }

    /// Where the run stands.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Batches of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.data.train.len() / self.settings.batch_size).max(1) as u64
    }

    /// Steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        match self.settings.length {
            Length::Epochs(epochs) => u64::from(epochs) * self.steps_per_epoch(),
            Length::Steps(steps) => u64::from(steps),
        }
    }

    /// Bytes of all buffers on a GPU.
    pub fn device_bytes(&self) -> Option<u64> {
        self.session.device_bytes()
    }

    /// Trains to the end; `stop` asks to stop after the steps that are in flight.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the loss or the gradient norm is: the weights are those before that step.
    /// [`Error::Interrupted`] after `stop`, when a checkpoint has been written.
    pub async fn train(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Evaluation> {
        let total = self.total_steps();
        let mut evaluation = None;
        let mut queued = self.progress.step;
        self.start_clock();
        let mut loader = self.loader(total)?;
        while let Some(batch) = loader.next() {
            let batch = batch?;
            self.submit(&batch, queued, total)?;
            queued += 1;
            let epoch_ends = u64::from(batch.position) + 1 == self.steps_per_epoch();
            loader.reuse(batch);
            let stopping = stop.load(Ordering::Relaxed);
            let saving = self.settings.checkpoint_every.is_some_and(|every| queued.is_multiple_of(every));
            let leave = if epoch_ends || queued == total || stopping || saving { 0 } else { IN_FLIGHT };
            self.take_reports(leave, total, observer).await?;
            if epoch_ends || queued == total {
                evaluation = Some(self.finish_epoch(epoch_ends, observer).await?);
            } else if saving || stopping {
                self.checkpoint().await?;
            }
            if stopping && queued < total {
                return Err(self.interrupted());
            }
        }
        match evaluation {
            Some(evaluation) => Ok(evaluation),
            None => self.evaluate().await,
        }
    }

    /// Evaluates the test split with the weights as they are.
    pub async fn evaluate(&mut self) -> Result<Evaluation> {
        let (session, feed) = (&mut self.session, self.feeds[EVAL]);
        let mut evaluator = Evaluator { session, graph: EVAL, task: self.task, feed };
        evaluator.run(&self.data.test).await
    }

    /// The parameters and running statistics as they are.
    pub async fn model(&mut self) -> Result<Tensors> {
        let parameters = self.session.read_pages(PageList::Parameters).await?;
        let statistics = self.session.read_pages(PageList::Statistics).await?;
        let mut tensors = weights::from_pages(&self.program.pages.parameters, &parameters);
        tensors.extend(weights::from_pages(&self.program.pages.statistics, &statistics));
        // In the graph's order, which is PyTorch's: a layer's statistics follow its parameters.
        let nodes = self.program.graphs[TRAIN].nodes().iter().enumerate();
        let stored = nodes.filter(|(_, node)| !matches!(node.kind, NodeKind::Op(_)));
        let order: HashMap<&str, usize> = stored.map(|(index, node)| (node.name.as_str(), index)).collect();
        tensors.sort_by_key(|name, _| order.get(name.as_str()).copied());
        Ok(tensors)
    }

    fn loader(&self, total: u64) -> Result<Loader> {
        let start = Position { epoch: self.progress.epoch, position: self.progress.position };
        let Settings { seed, shuffle, batch_size, .. } = self.settings;
        let order = Order::Train { seed, shuffle, start, end: End::Batches(total) };
        self.feeds[TRAIN].loader(&self.data.train, batch_size, order)
    }

    fn submit(&mut self, batch: &Batch, step: u64, total: u64) -> Result<()> {
        let number = step_number(step)?;
        let step = Step {
            seed: self.settings.seed,
            step: number,
            learning_rate: self.settings.schedule.learning_rate(step, total) as f32,
            clip_norm: self.settings.clip_norm.unwrap_or(f32::INFINITY),
            optimizer: self.settings.update.step_numbers(number + 1),
            ..Step::default()
        };
        // A micro-batch is given its own part of streamed images, in which its samples have their places.
        let mut places = batch.places.clone();
        if batch.pixels.is_some() {
            let size = self.task.batch_size as i32;
            places.iter_mut().filter(|place| **place >= 0).for_each(|place| *place %= size);
        }
        self.session.submit(TRAIN, &self.feeds[TRAIN].inputs(batch, &places), &step)
    }

    async fn take_reports(&mut self, leave: usize, total: u64, observer: &mut dyn Observer) -> Result<()> {
        while let Some(finished) = self.session.collect(leave).await? {
            if let Some(report) = finished.report {
                self.record(&report, total, observer)?;
            }
        }
        Ok(())
    }

    fn record(&mut self, report: &StepReport, total: u64, observer: &mut dyn Observer) -> Result<()> {
        if report.halted {
            let StepReport { step, loss, grad_norm, .. } = *report;
            return Err(Error::NotFinite { step, loss, grad_norm });
        }
        let batch_size = self.settings.batch_size;
        self.progress.step = report.step;
        self.progress.loss_scale = report.loss_scale;
        self.progress.position += 1;
        self.progress.totals.add(f64::from(report.loss), f64::from(report.correct), batch_size as u64);
        self.clock.logged.1 += batch_size as u64;
        self.clock.epoch.1 += batch_size as u64;
        let epoch = self.progress.epoch + 1;
        observer.step(StepEvent {
            step: report.step,
            total_steps: total,
            epoch,
            loss: report.loss,
            batch_size,
        });
        if report.step.is_multiple_of(self.settings.log_every) {
            let img_per_s = rate(self.clock.logged);
            self.clock.logged = (Instant::now(), 0);
            let lr = self.settings.schedule.learning_rate(report.step - 1, total);
            let StepReport { step, loss, grad_norm, .. } = *report;
            let loss_scale = self.program.scales_loss().then_some(report.loss_scale.scale);
            self.write(&Line::Step(StepLine { step, epoch, loss, lr, grad_norm, loss_scale, img_per_s }))?;
        }
        Ok(())
    }

    /// Evaluates, writes the epoch's line, the model and a checkpoint.
    async fn finish_epoch(&mut self, complete: bool, observer: &mut dyn Observer) -> Result<Evaluation> {
        let images_per_second = rate(self.clock.epoch);
        let evaluation = self.evaluate().await?;
        let (train_loss, train_accuracy) = self.progress.totals.means();
        let line = EpochLine {
            epoch: self.progress.epoch + 1,
            train_loss,
            train_accuracy,
            test_loss: evaluation.loss,
            test_accuracy: evaluation.accuracy,
        };
        observer.epoch(&line, images_per_second);
        self.write(&Line::Epoch(line))?;
        if complete {
            self.progress.epoch += 1;
            self.progress.position = 0;
            self.progress.totals = Totals::default();
        }
        self.checkpoint().await?;
        self.start_clock();
        Ok(evaluation)
    }

    /// Writes checkpoint and model into the run folder, if there is one.
    async fn checkpoint(&mut self) -> Result<()> {
        if self.run.is_none() {
            return Ok(());
        }
        let model = self.model().await?;
        let overflown = model.iter().find(|(_, tensor)| !tensor.data.iter().all(|value| value.is_finite()));
        if let Some((name, _)) = overflown {
            return Err(Error::NotFiniteWeights { step: self.progress.step, name: name.clone() });
        }
        let mut optimizer = indexmap::IndexMap::new();
        for (name, list) in slot_lists(&self.program.clone()) {
            let pages = self.session.read_pages(list).await?;
            optimizer.insert(name.to_string(), weights::from_pages(&self.program.pages.parameters, &pages));
        }
        let Some((run, metrics)) = &mut self.run else { return Ok(()) };
        metrics.sync()?;
        run.write_model(&self.about, &model, self.progress.step)?;
        Checkpoint { model, optimizer, progress: self.progress.clone() }.write(&run.path)
    }

    fn interrupted(&self) -> Error {
        let run = self.run.as_ref().map(|(run, _)| run.path.clone()).unwrap_or_default();
        Error::Interrupted { step: self.progress.step, run }
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        match &mut self.run {
            Some((_, metrics)) => metrics.write(line),
            None => Ok(()),
        }
    }

    fn start_clock(&mut self) {
        self.clock = Clock { logged: (Instant::now(), 0), epoch: (Instant::now(), 0) };
    }
}

fn rate((since, images): (Instant, u64)) -> f64 {
    images as f64 / since.elapsed().as_secs_f64().max(1e-9)
}

fn step_number(step: u64) -> Result<u32> {
    u32::try_from(step).map_err(|_| Error::Recipe("a run has at most 2^32 steps".to_string()))
}
