//! The thread that owns the model, and the queue before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::sync::oneshot;

use super::Settings;
use super::fault::Fault;
use super::metrics::Metrics;
use crate::train::Predictor;

/// An image that waits for its logits.
struct Job {
    pixels: Vec<f32>,
    reply: oneshot::Sender<Result<Vec<f32>, String>>,
}

/// Where images are handed in.
pub(super) struct Batcher {
    queue: SyncSender<Job>,
    failing: Arc<AtomicBool>,
}

impl Batcher {
    /// Starts the model's thread, which ends when the batcher is dropped and its queue is empty.
    pub(super) fn start(
        predictor: Predictor,
        settings: &Settings,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Batcher, JoinHandle<()>)> {
        let (queue, jobs) = sync_channel(settings.max_queue);
        let failing = Arc::new(AtomicBool::new(false));
        let worker = Worker { predictor, jobs, delay: settings.max_delay, metrics, failing: failing.clone() };
        let thread = std::thread::Builder::new().name("model".to_string()).spawn(|| worker.run())?;
        Ok((Batcher { queue, failing }, thread))
    }

    /// The logits of one image.
    pub(super) async fn logits(&self, pixels: Vec<f32>) -> Result<Vec<f32>, Fault> {
        let gone = || Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "the model's thread has ended");
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Job { pixels, reply }).map_err(|error| match error {
            TrySendError::Full(_) => Fault::busy("too many images wait"),
            TrySendError::Disconnected(_) => gone(),
        })?;
        let logits = answer.await.map_err(|_| gone())?;
        logits.map_err(|message| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, message))
    }

    /// Whether the last batch failed: the device is lost, or out of memory.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}

struct Worker {
    predictor: Predictor,
    jobs: Receiver<Job>,
    delay: Duration,
    metrics: Arc<Metrics>,
    failing: Arc<AtomicBool>,
}

/// A thread that ends for whatever reason leaves a model that is not well.
impl Drop for Worker {
    fn drop(&mut self) {
        self.failing.store(true, Ordering::Relaxed);
    }
}

impl Worker {
    fn run(mut self) {
        while let Ok(first) = self.jobs.recv() {
            let mut jobs = vec![first];
            gather(&mut jobs, &self.jobs, self.predictor.most(), self.delay);
            // Whose client has gone, or whose time is over, needs no answer.
            jobs.retain(|job| !job.reply.is_closed());
            if !jobs.is_empty() {
                self.compute(jobs);
            }
        }
    }

    fn compute(&mut self, jobs: Vec<Job>) {
        self.metrics.computed(jobs.len());
        let pixels: Vec<f32> = jobs.iter().flat_map(|job| job.pixels.iter().copied()).collect();
        let logits = pollster::block_on(self.predictor.logits(&pixels));
        self.failing.store(logits.is_err(), Ordering::Relaxed);
        let answers: Vec<Result<Vec<f32>, String>> = match logits {
            Ok(logits) => {
                logits.chunks(logits.len() / jobs.len()).map(|logits| Ok(logits.to_vec())).collect()
            }
            Err(error) => {
                eprintln!("error: {error}");
                vec![Err(error.to_string()); jobs.len()]
            }
        };
        for (job, answer) in jobs.into_iter().zip(answers) {
            // The client may have gone meanwhile.
            let _ = job.reply.send(answer);
        }
    }
}

/// Takes what waits, and what comes within the delay of the first, up to `most` in all.
fn gather<T>(taken: &mut Vec<T>, queue: &Receiver<T>, most: usize, delay: Duration) {
    let deadline = Instant::now() + delay;
    while taken.len() < most {
        let left = deadline.saturating_duration_since(Instant::now());
        let next = match left.is_zero() {
            true => queue.try_recv().map_err(|_| RecvTimeoutError::Timeout),
            false => queue.recv_timeout(left),
        };
        match next {
            Ok(next) => taken.push(next),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_take_what_waits_and_no_more_than_the_most() {
        let (sender, queue) = sync_channel(10);
        (1..8).for_each(|number| sender.send(number).unwrap());
        let mut taken = vec![0];
        gather(&mut taken, &queue, 4, Duration::ZERO);
        assert_eq!(taken, [0, 1, 2, 3]);
        let mut rest = vec![];
        gather(&mut rest, &queue, 100, Duration::ZERO);
        assert_eq!(rest, [4, 5, 6, 7]);
    }

    #[test]
    fn a_delay_lets_others_come() {
        let (sender, queue) = sync_channel(10);
        let late = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            sender.send(1).unwrap();
        });
        let mut taken = vec![0];
        gather(&mut taken, &queue, 2, Duration::from_secs(60));
        late.join().unwrap();
        assert_eq!(taken, [0, 1]);
    }
}
