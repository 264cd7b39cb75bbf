//! How a training run is shown while it goes on.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;

use super::Ui;
use super::report::{bar, line, say};
use crate::train::metrics::{EpochLine, EvaluationLine, StepLine, TestLine};
use crate::train::weights::Tensors;
use crate::train::{Evaluation, Observer, StepEvent, Wish};

/// Time between two lines about steps where there is no bar.
const PAUSE: Duration = Duration::from_secs(10);

/// In which form progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Not at all.
    Quiet,
    /// A bar on standard error, which is a terminal, and a line for each epoch.
    Bar,
    /// Lines: for each epoch, and within long ones every ten seconds.
    Lines,
    /// What `metrics.jsonl` has, as it is written.
    Json,
    /// A [`Dashboard`](super::dashboard::Dashboard).
    #[cfg(feature = "tui")]
    Dashboard,
}

impl Style {
    /// What is asked for; if nothing is, what suits the terminal, or what is none.
    pub(super) fn of(ui: Ui, json: bool, quiet: bool) -> Style {
        match ui {
            #[cfg(feature = "tui")]
            Ui::Tui => Style::Dashboard,
            Ui::Auto if json => Style::Json,
            Ui::Auto if quiet => Style::Quiet,
            Ui::Auto if std::io::stderr().is_terminal() => Style::Bar,
            Ui::Auto => Style::Lines,
        }
    }
}

/// Shows a training run.
pub(super) struct Display {
    bar: ProgressBar,
    epochs: u32,
    style: Style,
    mean: Option<f32>,
    /// When a line was last printed, and the images since.
    said: (Instant, u64),
}

impl Display {
    pub(super) fn new(total_steps: u64, done: u64, epochs: u32, style: Style) -> Display {
        let template = "{wide_bar} step {pos}/{len}  {msg}  {per_sec}  ETA {eta}";
        let bar = bar(total_steps, template, style != Style::Bar);
        bar.set_position(done);
        bar.reset_eta();
        Display { bar, epochs, style, mean: None, said: (Instant::now(), 0) }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn json(&self, value: &impl Serialize) {
        if self.style == Style::Json
            && let Ok(text) = line(value)
        {
            say(text);
        }
    }

    /// Prints a line of text, unless nobody wants it.
    fn say(&mut self, text: String) {
        if matches!(self.style, Style::Bar | Style::Lines) {
            self.bar.suspend(|| say(text));
            self.said = (Instant::now(), 0);
        }
    }
}

impl Observer for Display {
    fn step(&mut self, event: StepEvent) {
        let mean = self.mean.map_or(event.loss, |mean| 0.9 * mean + 0.1 * event.loss);
        self.mean = Some(mean);
        self.said.1 += event.batch_size as u64;
        if self.style == Style::Lines && self.said.0.elapsed() >= PAUSE {
            let StepEvent { step, total_steps, epoch, .. } = event;
            let images = self.said.1 as f64 / self.said.0.elapsed().as_secs_f64();
            let epochs = self.epochs;
            self.say(format!(
                "epoch {epoch}/{epochs}  step {step}/{total_steps}  loss {mean:.4}  {images:.0} img/s"
            ));
        }
        let images = self.bar.per_sec() * event.batch_size as f64;
        self.bar
            .set_message(format!("epoch {}/{}  loss {mean:.4}  {images:.0} img/s", event.epoch, self.epochs));
        self.bar.set_position(event.step);
    }

    fn logged(&mut self, line: &StepLine) {
        self.json(line);
    }

    fn epoch(&mut self, line: &EpochLine) {
        self.json(line);
        self.say(epoch_text(line, self.epochs));
    }

    fn evaluation(&mut self, line: &EvaluationLine) {
        self.json(line);
        self.say(evaluation_text(line));
    }
}

/// A line for an epoch that is done.
pub(super) fn epoch_text(line: &EpochLine, epochs: u32) -> String {
    let EpochLine { epoch, train_loss, train_accuracy, test, img_per_s, .. } = line;
    let averages = averaged(line.ema);
    let width = epochs.to_string().len();
    format!(
        "epoch {epoch:>width$}/{epochs}  train loss {train_loss:.4}  accuracy {:6.2} %  test loss {:.4}  accuracy \
         {:6.2} %{averages}  {img_per_s:.0} img/s",
        train_accuracy * 100.0,
        test.test_loss,
        test.test_accuracy * 100.0,
    )
}

/// A line for an evaluation within an epoch.
pub(super) fn evaluation_text(line: &EvaluationLine) -> String {
    let EvaluationLine { step, epoch, test, ema } = line;
    let (loss, accuracy, averages) = (test.test_loss, test.test_accuracy * 100.0, averaged(*ema));
    format!("epoch {epoch}, step {step}  test loss {loss:.4}  accuracy {accuracy:6.2} %{averages}")
}

/// The accuracy of running averages, if they are kept.
fn averaged(ema: Option<TestLine>) -> String {
    ema.map(|ema| format!("  averaged {:6.2} %", ema.test_accuracy * 100.0)).unwrap_or_default()
}

/// Two that watch the same run.
pub(super) struct Both<'a>(pub(super) &'a mut dyn Observer, pub(super) &'a mut dyn Observer);

impl Observer for Both<'_> {
    fn step(&mut self, event: StepEvent) {
        self.0.step(event);
        self.1.step(event);
    }

    fn logged(&mut self, line: &StepLine) {
        self.0.logged(line);
        self.1.logged(line);
    }

    fn epoch(&mut self, line: &EpochLine) {
        self.0.epoch(line);
        self.1.epoch(line);
    }

    fn evaluation(&mut self, line: &EvaluationLine) {
        self.0.evaluation(line);
        self.1.evaluation(line);
    }

    fn evaluated(&mut self, evaluation: &Evaluation) {
        self.0.evaluated(evaluation);
        self.1.evaluated(evaluation);
    }

    fn wish(&mut self) -> Wish {
        match self.0.wish() {
            Wish::GoOn => self.1.wish(),
            wish => wish,
        }
    }

    fn saved(&mut self, model: &Tensors) {
        self.0.saved(model);
        self.1.saved(model);
    }
}
