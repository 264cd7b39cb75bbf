//! What a run leaves behind: lines of metrics, evaluations, checkpoints.

use std::time::Instant;

use super::{Clock, Observer, StepEvent, Trainer, Wish};
use crate::error::{Error, Result};
use crate::plan::StepReport;
use crate::train::checkpoint::{Checkpoint, Progress, Totals, slot_lists};
use crate::train::control::Score;
use crate::train::evaluation::Evaluation;
use crate::train::metrics::{EpochLine, EvaluationLine, Line, StepLine, TestLine};
use crate::train::weights::{self, Tensors};

impl Trainer<'_> {
    pub(super) async fn take_reports(
        &mut self,
        leave: usize,
        total: u64,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        while let Some(finished) = self.assembly.session.collect(leave).await? {
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
        let (epoch, lr) = (self.progress.epoch + 1, self.learning_rate(report.step - 1, total));
        let StepReport { step, loss, grad_norm, .. } = *report;
        observer.step(StepEvent { step, total_steps: total, epoch, loss, lr, batch_size });
        if report.step.is_multiple_of(self.settings.log_every) {
            let img_per_s = rate(self.clock.logged);
            self.clock.logged = (Instant::now(), 0);
            let loss_scale = self.assembly.program.scales_loss().then_some(report.loss_scale.scale);
            let line = StepLine { step, epoch, loss, lr, grad_norm, loss_scale, img_per_s };
            observer.logged(&line);
            self.write(&Line::Step(line))?;
        }
        Ok(())
    }

    /// Does what the observer wishes between two steps, however long it takes to say so.
    pub(super) async fn heed(&mut self, total: u64, observer: &mut dyn Observer) -> Result<()> {
        let begun = Instant::now();
        while observer.wish() == Wish::Checkpoint {
            self.take_reports(0, total, observer).await?;
            self.checkpoint().await?;
        }
        self.clock.pause(begun.elapsed());
        Ok(())
    }

    /// Evaluates, writes the epoch's line, the model and a checkpoint.
    pub(super) async fn finish_epoch(
        &mut self,
        complete: bool,
        observer: &mut dyn Observer,
    ) -> Result<Evaluation> {
        let img_per_s = rate(self.clock.epoch);
        let (evaluation, averages) = self.judge(observer).await?;
        let (train_loss, train_accuracy) = self.progress.totals.means();
        let line = EpochLine {
            epoch: self.progress.epoch + 1,
            train_loss,
            train_accuracy,
            test: TestLine::from(&evaluation),
            img_per_s,
            device_bytes: self.assembly.session.device_bytes(),
            ema: averages.as_ref().map(TestLine::from),
        };
        observer.epoch(&line);
        self.write(&Line::Epoch(line))?;
        if complete {
            if let (Some(plateau), Some(state)) = (self.settings.schedule.plateau(), self.progress.plateau) {
                self.progress.plateau = Some(plateau.step(state, evaluation.loss));
            }
            self.progress.epoch += 1;
            self.progress.position = 0;
            self.progress.totals = Totals::default();
        }
        if let Some(model) = self.checkpoint().await? {
            observer.saved(&model);
        }
        self.start_clock();
        Ok(evaluation)
    }

    /// Evaluates within an epoch, and writes a line and a checkpoint.
    pub(super) async fn evaluate_midway(&mut self, observer: &mut dyn Observer) -> Result<Evaluation> {
        let begun = Instant::now();
        let (evaluation, averages) = self.judge(observer).await?;
        let Progress { step, epoch, .. } = self.progress;
        let (test, ema) = (TestLine::from(&evaluation), averages.as_ref().map(TestLine::from));
        let line = EvaluationLine { step, epoch: epoch + 1, test, ema };
        observer.evaluation(&line);
        self.write(&Line::Evaluation(line))?;
        self.checkpoint().await?;
        self.clock.pause(begun.elapsed());
        Ok(evaluation)
    }

    /// Evaluates the weights, and their running averages if they are kept, and says so to the history.
    async fn judge(&mut self, observer: &mut dyn Observer) -> Result<(Evaluation, Option<Evaluation>)> {
        let evaluation = self.evaluate().await?;
        observer.evaluated(&evaluation);
        let averages = self.evaluate_averages().await?;
        let rule = &self.settings.control.rule;
        let judged = averages.as_ref().filter(|_| rule.monitor.is_of_averages()).unwrap_or(&evaluation);
        let score = Score::new(self.progress.step, rule.monitor.value(judged));
        self.progress.history.record(score, rule);
        Ok((evaluation, averages))
    }

    /// Writes checkpoint and model into the run folder, if there is one, and gives back the model.
    pub(super) async fn checkpoint(&mut self) -> Result<Option<Tensors>> {
        if self.run.is_none() {
            return Ok(None);
        }
        let model = self.model().await?;
        let overflown = model.iter().find(|(_, tensor)| !tensor.data.iter().all(|value| value.is_finite()));
        if let Some((name, _)) = overflown {
            return Err(Error::NotFiniteWeights { step: self.progress.step, name: name.clone() });
        }
        let mut optimizer = indexmap::IndexMap::new();
        for (name, list) in slot_lists(&self.assembly.program.clone()) {
            let pages = self.assembly.session.read_pages(list).await?;
            optimizer.insert(
                name.to_string(),
                weights::from_pages(&self.assembly.program.pages.parameters, &pages),
            );
        }
        let averages = self.averages().await?;
        let Some((run, metrics)) = &mut self.run else { return Ok(None) };
        metrics.sync()?;
        run.write_model(&self.about, &model, self.progress.step)?;
        if let Some(averages) = &averages {
            run.write_averages(&self.about, averages, self.progress.step)?;
        }
        let checkpoint = Checkpoint { model, averages, optimizer, progress: self.progress.clone() };
        checkpoint.write(&run.path)?;
        Ok(Some(checkpoint.model))
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        match &mut self.run {
            Some((_, metrics)) => metrics.write(line),
            None => Ok(()),
        }
    }

    pub(super) fn start_clock(&mut self) {
        self.clock = Clock { logged: (Instant::now(), 0), epoch: (Instant::now(), 0) };
    }
}

fn rate((since, images): (Instant, u64)) -> f64 {
    images as f64 / since.elapsed().as_secs_f64().max(1e-9)
}
