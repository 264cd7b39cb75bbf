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
    /// Share of samples whose class is among the five most probable.
    pub top5_accuracy: f64,
    /// Expected calibration error: how far confidence and accuracy are apart (Guo et al. 2017, 15 bins).
    pub ece: f64,
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

/// Bins of confidence, as in the paper.
const CALIBRATION_BINS: usize = 15;

impl Evaluation {
    /// The class that a sample is taken for.
    pub fn prediction(&self, sample: usize) -> usize {
        let classes = self.confusion.len();
        argmax(&self.logits[sample * classes..][..classes])
    }

    /// The probability, by softmax, of the class that a sample is taken for.
    pub fn confidence(&self, sample: usize) -> f64 {
        let classes = self.confusion.len();
        confidence(&self.logits[sample * classes..][..classes], self.prediction(sample))
    }

    /// Classes that are taken for others: truth, prediction and how often, the most frequent first.
    pub fn confusions(&self) -> Vec<(usize, usize, u64)> {
        let rows = self.confusion.iter().enumerate();
        let counts =
            rows.flat_map(|(truth, row)| row.iter().enumerate().map(move |(said, n)| (truth, said, *n)));
        let mut wrong: Vec<_> = counts.filter(|(truth, said, n)| truth != said && *n > 0).collect();
        wrong.sort_by_key(|(truth, said, n)| (std::cmp::Reverse(*n), *truth, *said));
        wrong
    }

    /// Mean F1 over the classes.
    pub fn macro_f1(&self) -> f64 {
        let rows = self.classes();
        rows.iter().map(|row| row.f1).sum::<f64>() / rows.len().max(1) as f64
    }

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
            top5_accuracy: 0.0,
            ece: 0.0,
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
        let mut bins = Calibration::default();
        for (logits, &label) in sums.logits.chunks_exact(classes).zip(split.labels()) {
            let truth = usize::try_from(label).ok().filter(|truth| *truth < classes);
            let truth = truth.ok_or_else(|| {
                Error::Data(format!("the data has a label {label}, the model has {classes} classes"))
            })?;
            let predicted = argmax(logits);
            sums.confusion[truth][predicted] += 1;
            sums.top5_accuracy += f64::from(u8::from(rank(logits, truth) < 5));
            bins.add(confidence(logits, predicted), predicted == truth);
        }
        sums.ece = bins.error();
        let right: u64 = (0..classes).map(|class| sums.confusion[class][class]).sum();
        sums.loss /= samples;
        sums.top5_accuracy /= samples;
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

/// How often predictions of each confidence are right.
#[derive(Default)]
struct Calibration {
    /// Sum of confidences, right predictions, predictions.
    bins: [(f64, f64, f64); CALIBRATION_BINS],
}

impl Calibration {
    fn add(&mut self, confidence: f64, right: bool) {
        // A confidence that is no number belongs to the first bin, with what is never right.
        let bin = ((confidence * CALIBRATION_BINS as f64).ceil() as usize).clamp(1, CALIBRATION_BINS) - 1;
        let (confidences, rights, count) = &mut self.bins[bin];
        *confidences += confidence;
        *rights += f64::from(u8::from(right));
        *count += 1.0;
    }

    fn error(&self) -> f64 {
        let total: f64 = self.bins.iter().map(|(_, _, count)| count).sum();
        let apart = |&(confidences, rights, _): &(f64, f64, f64)| (confidences - rights).abs();
        self.bins.iter().map(apart).sum::<f64>() / if total == 0.0 { 1.0 } else { total }
    }
}

/// The softmax's value for a class.
fn confidence(logits: &[f32], class: usize) -> f64 {
    let largest = f64::from(logits[class]);
    1.0 / logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum::<f64>()
}

/// How many classes come before this one: those with a larger logit, and the first of equals; what is not a number comes
/// last.
fn rank(logits: &[f32], class: usize) -> usize {
    let own = logits[class];
    let before = |(other, logit): (usize, &f32)| {
        *logit > own || *logit == own && other < class || own.is_nan() && (!logit.is_nan() || other < class)
    };
    logits.iter().enumerate().filter(|&entry| before(entry)).count()
}

/// The largest logit's place; the first of equals, and 0 if all are NaN.
pub fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] || logits[best].is_nan() && !logit.is_nan() {
            best = class;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_better_classes_and_earlier_equals() {
        assert_eq!([0, 1, 2, 3].map(|class| rank(&[1.0, 3.0, 3.0, -2.0], class)), [2, 0, 1, 3]);
        assert_eq!([0, 1, 2].map(|class| rank(&[f32::NAN, 1.0, f32::NAN], class)), [1, 0, 2]);
    }

    #[test]
    fn calibration_is_the_gap_between_confidence_and_accuracy() {
        // Four predictions at 0.9 of which three are right, two at 0.5 of which one is.
        let mut bins = Calibration::default();
        for right in [true, true, true, false] {
            bins.add(0.9, right);
        }
        bins.add(0.5, true);
        bins.add(0.5, false);
        assert!((bins.error() - (4.0 * 0.15) / 6.0).abs() < 1e-12, "{}", bins.error());
        assert!((confidence(&[0.0, 3f32.ln()], 1) - 0.75).abs() < 1e-6);
    }
}
