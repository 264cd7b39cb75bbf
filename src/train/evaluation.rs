use std::collections::VecDeque;

use super::feed::Feed;
use super::program::Task;
use super::session::Session;
use crate::data::{Order, Split};
use crate::error::{Error, Result};
use crate::graph::Step;

/// How well a model does on a split.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of correct predictions.
    pub accuracy: f64,
    /// `confusion[truth][prediction]`: counts.
    pub confusion: Vec<Vec<u64>>,
    /// Logits of each sample `[N, classes]`, in the split's order.
    pub logits: Vec<f32>,
}

/// One class of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassRow {
    /// Of the predictions of this class, the share that is right.
    pub precision: f64,
    /// Of the samples of this class, the share that is found.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// Samples of this class.
    pub support: u64,
}

impl Evaluation {
    /// Precision, recall and F1 of each class, as scikit-learn's `classification_report` has them (0 where undefined).
    pub fn classes(&self) -> Vec<ClassRow> {
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        (0..self.confusion.len())
            .map(|class| {
                let right = self.confusion[class][class];
                let support = self.confusion[class].iter().sum();
                let predicted = self.confusion.iter().map(|row| row[class]).sum();
                let (precision, recall) = (share(right, predicted), share(right, support));
                let sum = precision + recall;
                let f1 = if sum == 0.0 { 0.0 } else { 2.0 * precision * recall / sum };
                ClassRow { precision, recall, f1, support }
            })
            .collect()
    }
}

/// Evaluates a split with a graph of a session.
pub struct Evaluator<'a> {
    /// The session and its evaluation graph's number.
    pub session: &'a mut Session,
    /// The evaluation graph.
    pub graph: usize,
    /// Sizes.
    pub task: Task,
    /// How samples reach that graph; the session has what it keeps of them.
    pub feed: Feed,
}

impl Evaluator<'_> {
    /// Runs every sample; the last batch is padded with samples whose label is ignored.
    pub async fn run(&mut self, split: &Split) -> Result<Evaluation> {
        let classes = self.task.classes;
        let mut sums = Evaluation {
            loss: 0.0,
            accuracy: 0.0,
            confusion: vec![vec![0; classes]; classes],
            logits: Vec::with_capacity(split.len() * classes),
        };
        self.session.prepare(self.graph).await?;
        let mut counts = VecDeque::new();
        let mut loader = self.feed.loader(split, self.task.batch_size, Order::Evaluate)?;
        while let Some(batch) = loader.next() {
            let batch = batch?;
            self.session.submit(self.graph, &self.feed.inputs(&batch, &batch.places), &Step::default())?;
            counts.push_back(batch.count);
            loader.reuse(batch);
            self.take(2, &mut counts, &mut sums).await?;
        }
        self.take(0, &mut counts, &mut sums).await?;
        let samples = split.len().max(1) as f64;
        for (logits, &label) in sums.logits.chunks_exact(classes).zip(split.labels()) {
            let truth = usize::try_from(label).ok().filter(|truth| *truth < classes);
            let truth = truth.ok_or_else(|| {
                Error::Data(format!("the data has a label {label}, the model has {classes} classes"))
            })?;
            sums.confusion[truth][argmax(logits)] += 1;
        }
        let right: u64 = (0..classes).map(|class| sums.confusion[class][class]).sum();
        sums.loss /= samples;
        sums.accuracy = right as f64 / samples;
        Ok(sums)
    }

    /// Takes finished batches until at most `leave` are in flight.
    async fn take(
        &mut self,
        leave: usize,
        counts: &mut VecDeque<usize>,
        sums: &mut Evaluation,
    ) -> Result<()> {
        while let Some(finished) = self.session.collect(leave).await? {
            let count = counts.pop_front().unwrap_or(0);
            let output = |name: &str| finished.outputs.get(name).map_or(&[][..], Vec::as_slice);
            sums.loss += f64::from(output("loss").first().copied().unwrap_or(0.0));
            sums.logits.extend_from_slice(&output("logits")[..count * self.task.classes]);
        }
        Ok(())
    }
}

/// The largest logit's place; the first of equals, and 0 if all are NaN.
pub(super) fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] || logits[best].is_nan() && !logit.is_nan() {
            best = class;
        }
    }
    best
}
