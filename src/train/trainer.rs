mod profile;
mod record;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::assembly::{Assembly, Parts};
use super::augmented::Drawn;
use super::checkpoint::{Checkpoint, Progress, Totals, check_names, slot_lists, slot_pages};
use super::control::{self, History};
use super::device::{Device, Environment};
use super::evaluation::{Evaluation, Evaluator};
use super::metrics::{EpochLine, EvaluationLine, Metrics, StepLine};
use super::program::{EVAL, EVAL_VIEWS, TRAIN};
use super::recipe::Length;
use super::run::{Run, RunModel};
use super::settings::Settings;
use super::weights::{self, Tensors};
use super::whitening;
use crate::data::{Batch, Dataset, End, Loader, Normalization, Order, Position};
use crate::error::{Error, Result};
use crate::graph::{NodeKind, Step};
use crate::models::Model;
use crate::optim::{PlateauState, RunLength};
use crate::plan::{PageList, Pages};

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
    /// Learning rate of the update.
    pub lr: f64,
    /// Images per step.
    pub batch_size: usize,
}

/// What an observer wants of a run between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That it goes on.
    GoOn,
    /// A checkpoint first.
    Checkpoint,
}

/// Someone who watches a run, as far as they want to.
pub trait Observer {
    /// A step is done.
    fn step(&mut self, _event: StepEvent) {}
    /// A step is logged, as every so many are.
    fn logged(&mut self, _line: &StepLine) {}
    /// An epoch is done and evaluated.
    fn epoch(&mut self, _line: &EpochLine) {}
    /// An evaluation within an epoch is done.
    fn evaluation(&mut self, _line: &EvaluationLine) {}
    /// The model after an epoch, as it has been written into the run folder.
    fn saved(&mut self, _model: &Tensors) {}
    /// The test split is evaluated; the line of it follows.
    fn evaluated(&mut self, _evaluation: &Evaluation) {}
    /// Asked between steps. The run stands still until this returns, and its clocks with it; no result depends on it.
    fn wish(&mut self) -> Wish {
        Wish::GoOn
    }
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Complete,
    /// Too many evaluations in a row were no improvement.
    Patience,
    /// The time was over; the run can be resumed.
    MaxTime,
}

/// How a training run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// Of the weights as they are now, by the views of each image that the model averages.
    pub evaluation: Evaluation,
    /// Why it ended.
    pub ending: Ending,
}

/// A training run.
pub struct Trainer<'d> {
    pub(super) settings: Settings,
    pub(super) parts: Parts<'d>,
    pub(super) assembly: Assembly,
    pub(super) about: RunModel,
    run: Option<(Run, Metrics)>,
    pub(super) progress: Progress,
    clock: Clock,
}

/// Counts images since the last logged step and since the epoch's begin.
struct Clock {
    logged: (Instant, u64),
    epoch: (Instant, u64),
}

impl Clock {
    /// Leaves a time out of both rates.
    fn pause(&mut self, time: Duration) {
        self.logged.0 += time;
        self.epoch.0 += time;
    }
}

impl<'d> Trainer<'d> {
    /// Prepares a run from its initial weights ([`weights::initial`], or loaded ones).
    ///
    /// # Errors
    /// If the model does not take the data set's images or give its classes, a setting does not fit (a batch larger than
    /// the training split), the data set is not [usable](Dataset::check), or the device has no room.
    pub async fn new(
        model: &'d Model,
        data: &'d Dataset,
        normalization: Option<Normalization>,
        settings: Settings,
        device: &Device,
    ) -> Result<Trainer<'d>> {
        data.check()?;
        let parts = Parts { model, data, normalization: normalization.clone(), device: device.clone() };
        let assembly = Assembly::new(&parts, &settings, 0).await?;
        check_names(&assembly.program.pages)?;
        let about = RunModel {
            image: data.image,
            classes: data.classes.clone(),
            resize: settings.resize,
            normalization,
            model: model.to_toml().unwrap_or_default().to_string(),
        };
        let progress = Progress {
            step: 0,
            epoch: 0,
            position: 0,
            seed: settings.seed,
            totals: Totals::default(),
            history: History::default(),
            environment: Environment {
                precision: settings.precision.name().to_string(),
                ..device.environment()
            },
            loss_scale: assembly.program.initial_loss_scale(),
            plateau: settings.schedule.plateau().map(|_| PlateauState::new(settings.schedule.lr)),
        };
        let clock = Clock { logged: (Instant::now(), 0), epoch: (Instant::now(), 0) };
        let mut trainer = Trainer { settings, parts, assembly, about, run: None, progress, clock };
        let initial = trainer.initial()?;
        trainer.set_model(&initial);
        Ok(trainer)
    }

    /// Samples that a step takes in at a time; the batch size if it does so in one piece.
    pub fn micro_batch_size(&self) -> usize {
        self.assembly.task.batch_size
    }

    /// Whether activations are made again in the backward pass instead of being kept.
    pub fn recomputes(&self) -> bool {
        self.assembly.recomputes
    }

    /// Numbers in all parameters and running statistics together.
    pub fn elements(&self) -> usize {
        let Pages { parameters, statistics } = &self.assembly.program.pages;
        parameters.tensors().iter().chain(statistics.tensors()).map(|(_, shape, _)| shape.numel()).sum()
    }

    /// The initial parameters and running statistics, to merge loaded ones into.
    ///
    /// # Errors
    /// If filters are to whiten the images and cannot.
    pub fn initial(&self) -> Result<Tensors> {
        let (graph, data) = (&self.assembly.program.graphs[TRAIN], self.parts.data);
        let mut tensors = weights::initial(graph, self.settings.seed);
        whitening::start(&mut tensors, graph, &data.train, self.parts.normalization.as_ref())?;
        Ok(tensors)
    }

    /// Overwrites parameters and running statistics.
    pub fn set_model(&mut self, tensors: &Tensors) {
        let [parameters, statistics] = weights::all_pages(&self.assembly.program.pages, tensors);
        self.assembly.session.write_pages(PageList::Parameters, &parameters);
        self.assembly.session.write_pages(PageList::Statistics, &statistics);
        self.set_averages(tensors);
    }

    /// Writes metrics, checkpoints and the model into a run folder from now on. A new run has its first checkpoint at
    /// once, so that it can be resumed whenever it ends.
    pub async fn record_in(&mut self, run: Run) -> Result<()> {
        let Progress { step, epoch, position, .. } = self.progress;
        // The last epoch of a run may be cut short; it has its line all the same.
        let cut_short = position > 0 && step >= self.total_steps();
        let metrics = Metrics::open(&run.path, step, epoch + u32::from(cut_short))?;
        let is_new = !Checkpoint::exists(&run.path);
        self.run = Some((run.clone(), metrics));
        if is_new {
            self.checkpoint().await.map(|_| ())
        } else {
            control::forget(&run.path, &self.progress.history)
        }
    }

    /// Continues from a checkpoint.
    pub fn restore(&mut self, checkpoint: &Checkpoint, run: &Run) -> Result<()> {
        checkpoint.check(&run.path, &self.assembly.program)?;
        self.check_progress(&checkpoint.progress, run)?;
        self.set_model(&checkpoint.model);
        if let Some(averages) = &checkpoint.averages {
            self.set_averages(averages);
        }
        for (name, list) in slot_lists(&self.assembly.program.clone()) {
            if let Some(tensors) = checkpoint.optimizer.get(name) {
                let pages = slot_pages(&self.assembly.program, tensors);
                self.assembly.session.write_pages(list, &pages);
            }
        }
        let environment = self.progress.environment.clone();
        let same_precision = checkpoint.progress.environment.precision == environment.precision;
        let initial = self.assembly.program.initial_loss_scale();
        let loss_scale = if same_precision { checkpoint.progress.loss_scale } else { initial };
        self.assembly.session.set_loss_scale(loss_scale);
        let plateau = checkpoint.progress.plateau.or(self.progress.plateau);
        let plateau = plateau.filter(|_| self.settings.schedule.plateau().is_some());
        self.progress = Progress { environment, loss_scale, plateau, ..checkpoint.progress.clone() };
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

    /// Where the run is recorded, if it is.
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref().map(|(run, _)| run)
    }

    /// Where the run stands.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Batches of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.parts.data.train.len() / self.settings.batch_size).max(1) as u64
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
        self.assembly.session.device_bytes()
    }

    /// Trains until all steps are done, or until the recipe's patience or time is; `stop` asks to
    /// stop after the steps that are in flight.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the loss or the gradient norm is: the weights are those before that step.
    /// [`Error::Interrupted`] after `stop`, when a checkpoint has been written.
    pub async fn train(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Trained> {
        let total = self.total_steps();
        let control = self.settings.control;
        let deadline = control.max_time.map(|time| Instant::now() + time.0);
        let mut evaluation = None;
        let mut queued = self.progress.step;
        self.start_clock();
        let mut loader = self.loader(total)?;
        while !self.is_exhausted()
            && let Some(batch) = loader.next()
        {
            let batch = batch?;
            evaluation = None;
            self.freeze_and_thaw().await?;
            self.submit(&batch, queued, total)?;
            queued += 1;
            let epoch_ends = u64::from(batch.position) + 1 == self.steps_per_epoch();
            loader.reuse(batch);
            let stopping = stop.load(Ordering::Relaxed);
            let saving = self.settings.checkpoint_every.is_some_and(|every| queued.is_multiple_of(every));
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let evaluating = control.eval_every.is_some_and(|every| queued.is_multiple_of(every.into()));
            let pausing = epoch_ends || queued == total || evaluating || saving || stopping || late;
            self.take_reports(if pausing { 0 } else { IN_FLIGHT }, total, observer).await?;
            if epoch_ends || queued == total {
                evaluation = Some(self.finish_epoch(epoch_ends, observer).await?);
            } else if evaluating {
                evaluation = Some(self.evaluate_midway(observer).await?);
            } else if saving || stopping || late {
                self.checkpoint().await?;
            }
            if stopping && queued < total {
                return Err(self.interrupted());
            }
            if late {
                break;
            }
            self.heed(total, observer).await?;
        }
        let averages_views = !self.parts.model.views().is_empty();
        let evaluation = match evaluation {
            Some(evaluation) if !averages_views => evaluation,
            _ => self.evaluate_with(if averages_views { EVAL_VIEWS } else { EVAL }).await?,
        };
        let ending = match queued {
            _ if queued >= total => Ending::Complete,
            _ if self.is_exhausted() => Ending::Patience,
            _ => Ending::MaxTime,
        };
        Ok(Trained { evaluation, ending })
    }

    fn is_exhausted(&self) -> bool {
        self.progress.history.is_exhausted(self.settings.control.patience)
    }

    /// Evaluates the test split with the weights as they are, and the images as they are: what a run is watched and judged by
    /// while it goes on. Views of the images are averaged once it has ended, for they cost as much again each.
    pub async fn evaluate(&mut self) -> Result<Evaluation> {
        self.evaluate_with(EVAL).await
    }

    async fn evaluate_with(&mut self, graph: usize) -> Result<Evaluation> {
        let (session, feed) = (&mut self.assembly.session, self.assembly.test_feed);
        let mut evaluator = Evaluator { session, graph, task: self.assembly.task, feed };
        evaluator.run(&self.parts.data.test).await
    }

    /// The parameters and running statistics as they are.
    pub async fn model(&mut self) -> Result<Tensors> {
        self.tensors_of([PageList::Parameters, PageList::Statistics]).await
    }

    /// The tensors of lists that are laid out as parameters and running statistics.
    pub(super) async fn tensors_of(&mut self, [parameters, statistics]: [PageList; 2]) -> Result<Tensors> {
        let parameters = self.assembly.session.read_pages(parameters).await?;
        let statistics = self.assembly.session.read_pages(statistics).await?;
        let mut tensors = weights::from_pages(&self.assembly.program.pages.parameters, &parameters);
        tensors.extend(weights::from_pages(&self.assembly.program.pages.statistics, &statistics));
        // In the graph's order, which is PyTorch's: a layer's statistics follow its parameters.
        let nodes = self.assembly.program.graphs[TRAIN].nodes().iter().enumerate();
        let stored = nodes.filter(|(_, node)| !matches!(node.kind, NodeKind::Op(_)));
        let order: HashMap<&str, usize> = stored.map(|(index, node)| (node.name.as_str(), index)).collect();
        tensors.sort_by_key(|name, _| order.get(name.as_str()).copied());
        Ok(tensors)
    }

    fn loader(&self, total: u64) -> Result<Loader> {
        let start = Position { epoch: self.progress.epoch, position: self.progress.position };
        let Settings { seed, shuffle, batch_size, .. } = self.settings;
        let order = Order::Train { seed, shuffle, start, end: End::Batches(total) };
        self.assembly.feed.feed.loader(&self.parts.data.train, batch_size, order)
    }

    fn learning_rate(&self, step: u64, total: u64) -> f64 {
        let schedule = &self.settings.schedule;
        match self.progress.plateau.filter(|_| step >= schedule.warmup.steps(total)) {
            Some(plateau) => plateau.learning_rate(),
            None => {
                let run = RunLength { steps: total, steps_per_epoch: self.steps_per_epoch() };
                schedule.learning_rate(step, run)
            }
        }
    }

    fn submit(&mut self, batch: &Batch, step: u64, total: u64) -> Result<()> {
        let step = self.step(step, total)?;
        let (places, drawn) = self.fed(batch);
        self.assembly.session.submit(TRAIN, &self.assembly.feed.inputs(batch, &places, &drawn), &step)
    }

    /// The numbers of a step of the run.
    fn step(&self, step: u64, total: u64) -> Result<Step> {
        let number = step_number(step)?;
        Ok(Step {
            seed: self.settings.seed,
            step: number,
            learning_rate: self.learning_rate(step, total) as f32,
            clip_norm: self.settings.clip_norm.unwrap_or(f32::INFINITY),
            clip_value: self.settings.clip_value.unwrap_or(f32::INFINITY),
            ema_share: self.settings.ema.map_or(1.0, |ema| ema.share(step + 1) as f32),
            optimizer: self.settings.update.step_numbers(number + 1),
            ..Step::default()
        })
    }

    /// Where a run of the graph finds a batch's samples, and what is done to them.
    fn fed(&self, batch: &Batch) -> (Vec<i32>, Drawn) {
        // A micro-batch is given its own part of streamed images, in which its samples have their places.
        let mut places = batch.places.clone();
        if batch.pixels.is_some() {
            let size = self.assembly.task.batch_size as i32;
            places.iter_mut().filter(|place| **place >= 0).for_each(|place| *place %= size);
        }
        (places, self.assembly.feed.draw(batch, &self.assembly.task))
    }

    fn interrupted(&self) -> Error {
        let run = self.run.as_ref().map(|(run, _)| run.path.clone()).unwrap_or_default();
        Error::Interrupted { step: self.progress.step, run }
    }
}

fn step_number(step: u64) -> Result<u32> {
    u32::try_from(step).map_err(|_| Error::Recipe("a run has at most 2^32 steps".to_string()))
}
