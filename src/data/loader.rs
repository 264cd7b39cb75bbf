use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::IGNORE_INDEX;
use super::normalization::Normalization;
use super::order::{Batches, Order, Position};
use super::split::Split;
use crate::error::{Error, Result};

/// Batches that wait ready. Few, because each holds its pixels; more than one, because decoding times vary.
const PREFETCH: usize = 3;

/// Samples as the network gets them.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Pixels, `N, H, W, C` with `N` the batch size; those of padding are zero.
    pub images: Vec<f32>,
    /// Labels; [`IGNORE_INDEX`] for padding.
    pub labels: Vec<i32>,
    /// Samples that are not padding; they come first.
    pub count: usize,
    /// The numbers of those samples in their split.
    pub indices: Vec<u32>,
    /// The epoch, from 0.
    pub epoch: u32,
    /// The number of the batch within the epoch, from 0.
    pub position: u32,
}

/// How a [`Loader`] makes batches.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Samples in a batch.
    pub batch_size: usize,
    /// Which samples are in which batch.
    pub order: Order,
    /// Applied to all but `f32` samples.
    pub normalization: Option<Normalization>,
}

/// Makes batches on a thread of its own, a few ahead of the one in use. Iterate over it; after an error it ends.
/// Dropping it stops the thread.
#[derive(Debug)]
pub struct Loader {
    batches: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Loader {
    /// Starts making batches. Fails at once on options that cannot work: no samples, a batch size of 0 or (for
    /// training) beyond the number of samples, a normalisation for another number of channels.
    pub fn spawn(split: &Split, options: LoaderOptions) -> Result<Loader> {
        let batches = Batches::new(options.order, split.len(), options.batch_size)?;
        if let Some(normalization) = &options.normalization {
            normalization.check(split.image()[0])?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = sync_channel(PREFETCH);
        let maker = Maker { split: split.clone(), options, stop: stop.clone() };
        let thread = std::thread::Builder::new()
            .name("wgrad loader".to_string())
            .spawn(move || maker.run(batches, &sender))
            .map_err(|error| Error::Data(format!("cannot start the thread that loads data: {error}")))?;
        Ok(Loader { batches: Some(receiver), thread: Some(thread), stop })
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if let Ok(batch) = self.batches.as_ref()?.recv() {
            return Some(batch);
        }
        self.batches = None;
        // The channel closes when the thread ends; one that panicked (in a decoder, say) must not look like the end
        // of the data.
        let ended = self.thread.take()?.join();
        ended.err().map(|_| {
            Err(Error::Data("the thread that loads data panicked; see the message above".to_string()))
        })
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Without a receiver a send that waits for room fails, so the thread cannot hang there.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // A panic was reported on its thread, and there is nobody left to hand it to.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Maker {
    split: Split,
    options: LoaderOptions,
    stop: Arc<AtomicBool>,
}

impl Maker {
    fn run(&self, mut batches: Batches, sender: &SyncSender<Result<Batch>>) {
        while let Some((at, samples)) = batches.next() {
            let batch = self.make(at, samples);
            let failed = batch.is_err();
            if self.stop.load(Ordering::Relaxed) || sender.send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn make(&self, at: Position, samples: &[u32]) -> Result<Batch> {
        let size = self.options.batch_size;
        let mut images = zeros(size, self.split.sample_len())?;
        self.split.fill(samples, self.options.normalization.as_ref(), &self.stop, &mut images)?;
        let mut labels = vec![IGNORE_INDEX; size];
        for (label, &sample) in labels.iter_mut().zip(samples) {
            *label = self.split.labels()[sample as usize];
        }
        let Position { epoch, position } = at;
        Ok(Batch { images, labels, count: samples.len(), indices: samples.to_vec(), epoch, position })
    }
}

/// Zeros for a batch, or an error where a batch size asks for more memory than there is.
fn zeros(size: usize, sample_len: usize) -> Result<Vec<f32>> {
    let mut images = Vec::new();
    let len = size.checked_mul(sample_len).filter(|&len| images.try_reserve_exact(len).is_ok());
    let message =
        || Error::Data(format!("a batch of {size} samples does not fit in memory; use a smaller batch size"));
    images.resize(len.ok_or_else(message)?, 0.0);
    Ok(images)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use super::super::order::{End, clamp_batch_size};
    use super::super::split::Images;
    use super::*;

    /// Sample `i` has the one pixel `i` and the label `i % 7`.
    fn split(len: usize) -> Split {
        let labels = (0..len).map(|sample| (sample % 7) as i32).collect();
        Split::new(Images::F32((0..len).map(|sample| sample as f32).collect()), labels, [1, 1, 1]).unwrap()
    }

    fn load(split: &Split, batch_size: usize, order: Order) -> Vec<Batch> {
        let options = LoaderOptions { batch_size, order, normalization: None };
        Loader::spawn(split, options).unwrap().collect::<Result<_>>().unwrap()
    }

    fn train(start: (u32, u32), end: End) -> Order {
        Order::Train { seed: 9, shuffle: true, start: Position { epoch: start.0, position: start.1 }, end }
    }

    #[test]
    fn a_resumed_loader_gives_what_an_uninterrupted_one_would() {
        let split = split(23);
        let whole = load(&split, 4, train((0, 0), End::Epoch(4)));
        assert_eq!(whole.len(), 4 * 5);
        for epoch in 0..4 {
            for position in 0..=5 {
                let resumed = load(&split, 4, train((epoch, position), End::Batches(20)));
                assert_eq!(resumed, whole[(epoch * 5 + position) as usize..], "{epoch}, {position}");
            }
        }
        for batch in &whole {
            assert_eq!(batch.count, 4);
            assert_eq!(batch.images, batch.indices.iter().map(|&sample| sample as f32).collect::<Vec<_>>());
            assert_eq!(
                batch.labels,
                batch.indices.iter().map(|&sample| (sample % 7) as i32).collect::<Vec<_>>()
            );
        }
        for epoch in whole.chunks(5) {
            let mut seen: Vec<u32> = epoch.iter().flat_map(|batch| batch.indices.clone()).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 20);
        }
    }

    #[test]
    fn unshuffled_training_is_in_the_order_of_the_files() {
        let order =
            Order::Train { seed: 9, shuffle: false, start: Position::default(), end: End::Batches(3) };
        let batches = load(&split(7), 3, order);
        assert_eq!(
            batches.iter().map(|batch| batch.indices.clone()).collect::<Vec<_>>(),
            [[0, 1, 2], [3, 4, 5], [0, 1, 2]]
        );
        assert_eq!((batches[2].epoch, batches[2].position), (1, 0));
    }

    #[test]
    fn evaluation_pads_the_last_batch() {
        let batches = load(&split(7), 3, Order::Evaluate);
        assert_eq!(batches.len(), 3);
        let last = &batches[2];
        assert_eq!((last.count, last.position), (1, 2));
        assert_eq!(last.images, [6.0, 0.0, 0.0]);
        assert_eq!(last.labels, [6, IGNORE_INDEX, IGNORE_INDEX]);
        assert_eq!(last.indices, [6]);
        assert_eq!(load(&split(6), 3, Order::Evaluate).len(), 2);
        assert_eq!(load(&split(2), 3, Order::Evaluate)[0].count, 2);
    }

    #[test]
    fn dropping_stops_the_thread() {
        let start = Instant::now();
        let options = LoaderOptions { batch_size: 10, order: train((0, 0), End::Never), normalization: None };
        let mut loader = Loader::spawn(&split(1000), options).unwrap();
        let stop = loader.stop.clone();
        assert!(loader.next().unwrap().is_ok());
        drop(loader);
        // The thread held the other reference.
        assert_eq!(Arc::strong_count(&stop), 1);
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn errors_travel_and_end_the_loader() {
        let files = Images::Files(vec![PathBuf::from("no/such/image.png"); 4]);
        let split = Split::new(files, vec![0; 4], [1, 2, 2]).unwrap();
        let options = LoaderOptions { batch_size: 2, order: train((0, 0), End::Never), normalization: None };
        let mut loader = Loader::spawn(&split, options).unwrap();
        let error = loader.next().unwrap().unwrap_err();
        assert!(error.to_string().contains("image.png: no such file"), "{error}");
        assert!(loader.next().is_none());
    }

    #[test]
    fn unusable_options_are_refused() {
        let spawn = |batch_size, order, channels| {
            let normalization = Some(Normalization { mean: vec![0.0; channels], std: vec![1.0; channels] });
            Loader::spawn(&split(10), LoaderOptions { batch_size, order, normalization })
        };
        let error = spawn(11, train((0, 0), End::Never), 1).unwrap_err().to_string();
        assert_eq!(
            error,
            "a batch of 11 is larger than the training set of 10 samples; use a smaller batch size"
        );
        assert!(spawn(clamp_batch_size(11, 10).0, train((0, 0), End::Never), 1).is_ok());
        assert!(spawn(0, Order::Evaluate, 1).is_err());
        assert!(spawn(2, Order::Evaluate, 3).is_err());
        let error = spawn(usize::MAX, Order::Evaluate, 1).unwrap().next().unwrap().unwrap_err().to_string();
        assert!(error.contains("does not fit in memory; use a smaller batch size"), "{error}");
    }
}
