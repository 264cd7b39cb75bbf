//! How a training run is shown while it goes on.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;

use super::report::{bar, line, say};
use crate::train::metrics::{EpochLine, EvaluationLine, StepLine, TestLine};
use crate::train::weights::Tensors;
use crate::train::{Observer, StepEvent};

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
}

impl Style {
    /// What suits the terminal, or what is none.
    pub(super) fn of_terminal(quiet: bool) -> Style {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Style::Quiet,
            (_, true) => Style::Bar,
            (_, false) => Style::Lines,
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
        let EpochLine { epoch, train_loss, train_accuracy, test, img_per_s, .. } = line;
        let averages = averaged(line.ema);
        let width = self.epochs.to_string().len();
        self.say(format!(
            "epoch {epoch:>width$}/{}  train loss {train_loss:.4}  accuracy {:6.2} %  test loss {:.4}  accuracy \
             {:6.2} %{averages}  {img_per_s:.0} img/s",
            self.epochs,
            train_accuracy * 100.0,
            test.test_loss,
            test.test_accuracy * 100.0,
        ));
    }

    fn evaluation(&mut self, line: &EvaluationLine) {
        self.json(line);
        let EvaluationLine { step, epoch, test, ema } = line;
        let (loss, accuracy, averages) = (test.test_loss, test.test_accuracy * 100.0, averaged(*ema));
        self.say(format!(
            "epoch {epoch}, step {step}  test loss {loss:.4}  accuracy {accuracy:6.2} %{averages}"
        ));
    }
}

/// The accuracy of running averages, if they are kept.
fn averaged(ema: Option<TestLine>) -> String {
    ema.map(|ema| format!("  averaged {:6.2} %", ema.test_accuracy * 100.0)).unwrap_or_default()
}

/// Two that watch the same run.
pub(super) struct Both<A, B>(pub(super) A, pub(super) B);

impl<A: Observer, B: Observer> Observer for Both<A, B> {
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

    fn saved(&mut self, model: &Tensors) {
        self.0.saved(model);
        self.1.saved(model);
    }
}
