use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use super::IGNORE_INDEX;
use super::order::{Batches, Order, Position};
use super::split::{Pixels, Split, resized};
use crate::error::{Error, Result};

/// Batches that wait ready. Few, because each holds its pixels; more than one, because decoding times vary.
const PREFETCH: usize = 3;

/// Which samples a step takes, and their pixels where these do not lie ready.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Pixels as they are stored, `N, H, W, C` with `N` the batch size, zeros for padding; none if they lie ready.
    pub pixels: Option<Pixels>,
    /// Labels; [`IGNORE_INDEX`] for padding.
    pub labels: Vec<i32>,
    /// For each place of the batch, the image it takes: of `pixels`, or of the split if they lie ready; -1 for padding.
    pub places: Vec<i32>,
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
    /// Whether batches hold pixels: not where the whole split lies ready on the device.
    pub pixels: bool,
}

/// Makes batches: those with pixels on a thread of its own, which decodes files on all cores, a few ahead of the one in
/// use. Iterate over it; after an error it ends. Dropping it stops the thread.
#[derive(Debug)]
pub struct Loader {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Batches without pixels are a few numbers: they are made when they are asked for.
    Here(Box<(Maker, Batches)>),
    Thread(Ahead),
}

/// The thread that works ahead.
#[derive(Debug)]
struct Ahead {
    batches: Option<Receiver<Result<Batch>>>,
    used: Sender<Pixels>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Loader {
    /// Starts making batches. Fails at once on options that cannot work: no samples, a batch size of 0 or (for
    /// training) beyond the number of samples.
    pub fn spawn(split: &Split, options: LoaderOptions) -> Result<Loader> {
        let batches = Batches::new(options.order, split.len(), options.batch_size)?;
        let stop = Arc::new(AtomicBool::new(false));
        let maker = Maker { split: split.clone(), options, stop: stop.clone() };
        if !maker.options.pixels {
            return Ok(Loader { source: Source::Here(Box::new((maker, batches))) });
        }
        let (sender, receiver) = sync_channel(PREFETCH);
        let (used, spare) = channel();
        let thread = std::thread::Builder::new()
            .name("wgrad loader".to_string())
            .spawn(move || maker.run(batches, &sender, &spare))
            .map_err(|error| Error::Data(format!("cannot start the thread that loads data: {error}")))?;
        Ok(Loader {
            source: Source::Thread(Ahead { batches: Some(receiver), used, thread: Some(thread), stop }),
        })
    }

    /// Gives a batch's memory back for those to come: then a few buffers serve all batches in turn.
    pub fn reuse(&self, batch: Batch) {
        if let (Source::Thread(ahead), Some(pixels)) = (&self.source, batch.pixels) {
            // A thread that has ended needs no memory.
            let _ = ahead.used.send(pixels);
        }
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        let ahead = match &mut self.source {
            Source::Here(made) => {
                let (maker, batches) = made.as_mut();
                let (at, samples) = batches.next()?;
                return Some(maker.make(at, samples, None));
            }
            Source::Thread(ahead) => ahead,
        };
        if let Ok(batch) = ahead.batches.as_ref()?.recv() {
            return Some(batch);
        }
        ahead.batches = None;
        // The channel closes when the thread ends; one that panicked (in a decoder, say) must not look like the end
        // of the data.
        let ended = ahead.thread.take()?.join();
        ended.err().map(|_| {
            Err(Error::Data("the thread that loads data panicked; see the message above".to_string()))
        })
    }
}

impl Drop for Ahead {
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

/// What makes batches, here or on the thread.
#[derive(Debug)]
struct Maker {
    split: Split,
    options: LoaderOptions,
    stop: Arc<AtomicBool>,
}

impl Maker {
    fn run(&self, mut batches: Batches, sender: &SyncSender<Result<Batch>>, spare: &Receiver<Pixels>) {
        while let Some((at, samples)) = batches.next() {
            let batch = self.make(at, samples, spare.try_recv().ok());
            let failed = batch.is_err();
            if self.stop.load(Ordering::Relaxed) || sender.send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn make(&self, at: Position, samples: &[u32], spare: Option<Pixels>) -> Result<Batch> {
        let size = self.options.batch_size;
        let mut pixels = None;
        if self.options.pixels {
            let pixels = pixels.insert(spare.unwrap_or_else(|| self.split.empty_pixels()));
            self.split.fetch(samples, size, &self.stop, pixels)?;
        }
        let (mut labels, mut places) = (vec![], vec![]);
        resized(&mut labels, size, 1)?.fill(IGNORE_INDEX);
        resized(&mut places, size, 1)?.fill(-1);
        for (at, &sample) in samples.iter().enumerate() {
            labels[at] = self.split.labels()[sample as usize];
            places[at] = if self.options.pixels { at as i32 } else { sample as i32 };
        }
        let Position { epoch, position } = at;
        Ok(Batch { pixels, labels, places, count: samples.len(), indices: samples.to_vec(), epoch, position })
    }
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
        let images = Images::F32(Arc::new((0..len).map(|sample| sample as f32).collect()));
        Split::new(images, labels, [1, 1, 1]).unwrap()
    }

    fn load(split: &Split, batch_size: usize, order: Order) -> Vec<Batch> {
        let ready = LoaderOptions { batch_size, order, pixels: false };
        let batches =
            |options| Loader::spawn(split, options).unwrap().collect::<Result<Vec<Batch>>>().unwrap();
        let with_pixels = batches(LoaderOptions { pixels: true, ..ready.clone() });
        // Without pixels the batches are the same, but for what lies ready.
        let ready = batches(ready);
        assert_eq!(ready.len(), with_pixels.len());
        for (ready, batch) in ready.iter().zip(&with_pixels) {
            let places = batch.indices.iter().map(|&sample| sample as i32);
            assert!(
                ready.places.iter().copied().eq(places.chain(batch.places[batch.count..].iter().copied()))
            );
            assert_eq!(
                *batch,
                Batch { pixels: batch.pixels.clone(), places: batch.places.clone(), ..ready.clone() }
            );
        }
        with_pixels
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
            let samples = batch.indices.iter().map(|&sample| sample as f32).collect();
            assert_eq!(batch.pixels, Some(Pixels::Real(samples)));
            assert_eq!(batch.places, [0, 1, 2, 3]);
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
        assert_eq!(last.pixels, Some(Pixels::Real(vec![6.0, 0.0, 0.0])));
        assert_eq!(last.places, [0, -1, -1]);
        assert_eq!(last.labels, [6, IGNORE_INDEX, IGNORE_INDEX]);
        assert_eq!(last.indices, [6]);
        assert_eq!(load(&split(6), 3, Order::Evaluate).len(), 2);
        assert_eq!(load(&split(2), 3, Order::Evaluate)[0].count, 2);
    }

    #[test]
    fn dropping_stops_the_thread() {
        let start = Instant::now();
        let options = LoaderOptions { batch_size: 10, order: train((0, 0), End::Never), pixels: true };
        let mut loader = Loader::spawn(&split(1000), options).unwrap();
        let Source::Thread(Ahead { stop, .. }) = &loader.source else { panic!("there is no thread") };
        let stop = stop.clone();
        assert!(loader.next().unwrap().is_ok());
        drop(loader);
        // The thread held the other reference.
        assert_eq!(Arc::strong_count(&stop), 1);
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn memory_that_is_given_back_is_used_again() {
        let order = train((0, 0), End::Epoch(3));
        let split = split(100);
        let want = load(&split, 9, order);
        let mut loader = Loader::spawn(&split, LoaderOptions { batch_size: 9, order, pixels: true }).unwrap();
        let mut buffers = std::collections::HashSet::new();
        for want in want {
            let batch = loader.next().unwrap().unwrap();
            assert_eq!(batch, want);
            let Some(Pixels::Real(values)) = &batch.pixels else { panic!("{batch:?}") };
            buffers.insert(values.as_ptr());
            loader.reuse(batch);
        }
        assert!(buffers.len() <= PREFETCH + 2, "{} buffers", buffers.len());
    }

    #[test]
    fn errors_travel_and_end_the_loader() {
        let files = Images::Files(vec![PathBuf::from("no/such/image.png"); 4]);
        let split = Split::new(files, vec![0; 4], [1, 2, 2]).unwrap();
        let options = LoaderOptions { batch_size: 2, order: train((0, 0), End::Never), pixels: true };
        let mut loader = Loader::spawn(&split, options).unwrap();
        let error = loader.next().unwrap().unwrap_err();
        assert!(error.to_string().contains("image.png: no such file"), "{error}");
        assert!(loader.next().is_none());
    }

    #[test]
    fn unusable_options_are_refused() {
        let spawn =
            |batch_size, order| Loader::spawn(&split(10), LoaderOptions { batch_size, order, pixels: true });
        let error = spawn(11, train((0, 0), End::Never)).unwrap_err().to_string();
        assert_eq!(
            error,
            "a batch of 11 is larger than the training set of 10 samples; use a smaller batch size"
        );
        assert!(spawn(clamp_batch_size(11, 10).0, train((0, 0), End::Never)).is_ok());
        assert!(spawn(0, Order::Evaluate).is_err());
        let error = spawn(usize::MAX, Order::Evaluate).unwrap().next().unwrap().unwrap_err().to_string();
        assert!(error.contains("does not fit in memory; use a smaller batch size"), "{error}");
    }
}
