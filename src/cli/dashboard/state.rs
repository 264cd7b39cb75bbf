//! What the dashboard knows of a run.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::train::metrics::TestLine;
use crate::train::{Evaluation, StepEvent};

/// Points of a curve beyond which neighbours are merged.
const MOST_POINTS: usize = 512;

/// Lines of the log that are kept for the end.
const MOST_LINES: usize = 10_000;

/// What is known of a run before its first step.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Facts {
    /// The run's folder.
    pub(in crate::cli) run: String,
    pub(in crate::cli) model: String,
    pub(in crate::cli) device: String,
    pub(in crate::cli) device_bytes: Option<u64>,
    pub(in crate::cli) classes: Vec<String>,
    pub(in crate::cli) epochs: u32,
    pub(in crate::cli) steps: u64,
    pub(in crate::cli) done: u64,
}

/// Everything that is drawn.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) facts: Arc<Facts>,
    pub(super) device_bytes: Option<u64>,
    pub(super) step: Option<StepEvent>,
    /// Images per second, over the last moments.
    pub(super) rate: f64,
    pub(super) loss: Curve,
    pub(super) test_loss: Curve,
    pub(super) accuracy: Curve,
    pub(super) test_accuracy: Curve,
    /// Truth, prediction and how often, the most frequent first.
    pub(super) mistakes: Vec<(usize, usize, u64)>,
    pub(super) log: VecDeque<String>,
    pub(super) paused: bool,
    pub(super) stopping: bool,
    pub(super) wants_checkpoint: bool,
}

impl State {
    pub(super) fn new(facts: Facts) -> State {
        State { device_bytes: facts.device_bytes, facts: Arc::new(facts), ..State::default() }
    }

    /// A copy to draw, with the last `lines` of the log: the training waits while it is made, and a long run has said
    /// much.
    pub(super) fn picture(&mut self, lines: usize) -> State {
        let log = std::mem::take(&mut self.log);
        let last = log.iter().skip(log.len().saturating_sub(lines)).cloned().collect();
        let picture = State { log: last, ..self.clone() };
        self.log = log;
        picture
    }

    /// Steps that are done.
    pub(super) fn done(&self) -> u64 {
        self.step.map_or(self.facts.done, |event| event.step)
    }

    pub(super) fn step(&mut self, event: StepEvent) {
        self.loss.push(event.step as f64, f64::from(event.loss));
        self.step = Some(event);
    }

    pub(super) fn say(&mut self, line: String) {
        if self.log.len() == MOST_LINES {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }

    pub(super) fn test(&mut self, test: &TestLine) {
        let step = self.done() as f64;
        self.test_loss.push(step, test.test_loss);
        self.test_accuracy.push(step, test.test_accuracy * 100.0);
    }

    pub(super) fn evaluated(&mut self, evaluation: &Evaluation) {
        let mut mistakes = evaluation.confusions();
        // More than any terminal shows.
        mistakes.truncate(200);
        self.mistakes = mistakes;
    }

    /// A key; all that it does is noted here.
    pub(super) fn key(&mut self, key: Key) {
        let step = self.done();
        match key {
            Key::Pause => {
                self.paused = !self.paused;
                let what = if self.paused { "paused" } else { "continued" };
                self.say(format!("{what} at step {step}"));
            }
            Key::Checkpoint => self.wants_checkpoint = true,
            Key::Stop => {
                self.stopping = true;
                self.say("stopping after the steps in flight".to_string());
            }
        }
    }
}

/// What keys do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Pause,
    Checkpoint,
    Stop,
}

/// A curve of any length in a bounded number of points, each the mean over as many values.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) points: Vec<(f64, f64)>,
    /// The value that came last.
    pub(super) last: Option<f64>,
    per_point: usize,
    /// Count, and sums of places and values, of the point that is not complete.
    pending: (usize, f64, f64),
}

impl Default for Curve {
    fn default() -> Curve {
        Curve { points: vec![], last: None, per_point: 1, pending: (0, 0.0, 0.0) }
    }
}

impl Curve {
    pub(super) fn push(&mut self, place: f64, value: f64) {
        self.last = Some(value);
        let (count, places, values) = &mut self.pending;
        (*count, *places, *values) = (*count + 1, *places + place, *values + value);
        if *count < self.per_point {
            return;
        }
        let count = *count as f64;
        self.points.push((*places / count, *values / count));
        self.pending = (0, 0.0, 0.0);
        if self.points.len() == MOST_POINTS {
            let merged = self.points.chunks_exact(2);
            self.points =
                merged.map(|pair| ((pair[0].0 + pair[1].0) / 2.0, (pair[0].1 + pair[1].1) / 2.0)).collect();
            self.per_point *= 2;
        }
    }
}

/// Measures images per second between looks at a state.
#[derive(Default)]
pub(super) struct Speedometer {
    last: Option<(Instant, u64)>,
}

impl Speedometer {
    /// Writes the rate of about the last seconds.
    pub(super) fn look(&mut self, state: &mut State, now: Instant) {
        let (step, images) = (state.done(), state.step.map_or(0, |event| event.batch_size));
        let Some((then, before)) = self.last else {
            self.last = Some((now, step));
            return;
        };
        let seconds = (now - then).as_secs_f64();
        if state.paused {
            self.last = Some((now, step));
        } else if seconds >= 0.5 && step > before {
            let rate = (step - before) as f64 * images as f64 / seconds;
            state.rate = if state.rate > 0.0 { 0.6 * state.rate + 0.4 * rate } else { rate };
            self.last = Some((now, step));
        }
    }
}
