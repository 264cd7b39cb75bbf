use std::ops::Range;

use rand::seq::SliceRandom;

use crate::error::{Error, Result};
use crate::tensor::{CounterRng, Purpose};

/// A batch's place in training: batch `position` of epoch `epoch`, both from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The epoch.
    pub epoch: u32,
    /// The batch within the epoch.
    pub position: u32,
}

/// Where training ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Before this epoch: `Epoch(3)` ends after epochs 0, 1 and 2.
    Epoch(u32),
    /// After so many batches, counted from the first batch of epoch 0 wherever the loader starts.
    Batches(u64),
    /// When the loader is dropped.
    Never,
}

/// Which samples are in which batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Epoch after epoch, each in its own order; the last incomplete batch of an epoch is dropped.
    Train {
        /// The seed of the run.
        seed: u64,
        /// Whether an epoch's order is drawn; the order of the files otherwise.
        shuffle: bool,
        /// The first batch.
        start: Position,
        /// Where to stop.
        end: End,
    },
    /// Every sample once, in the order of the files; the last batch is padded.
    Evaluate,
}

/// The order of the samples in an epoch: a permutation that depends on nothing but these arguments.
pub fn epoch_order(len: usize, seed: u64, shuffle: bool, epoch: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len).map(|sample| sample as u32).collect();
    if shuffle {
        order.shuffle(&mut CounterRng::new(seed, Purpose::Shuffle, "", epoch));
    }
    order
}

/// The batch size to use for `len` training samples, and whether it is less than requested.
pub fn clamp_batch_size(requested: usize, len: usize) -> (usize, bool) {
    if requested > len { (len, true) } else { (requested, false) }
}

/// The batches of an [`Order`], one after the other.
#[derive(Debug)]
pub(super) struct Batches {
    order: Order,
    len: usize,
    batch_size: usize,
    /// Numbers of the batches to come, from the first batch of epoch 0.
    remaining: Range<u64>,
    /// The epoch whose permutation is at hand.
    drawn: Option<(u32, Vec<u32>)>,
}

impl Batches {
    pub(super) fn new(order: Order, len: usize, batch_size: usize) -> Result<Batches> {
        if batch_size == 0 || len == 0 {
            return Err(Error::Data(format!("cannot make batches of {batch_size} from {len} samples")));
        }
        let remaining = match order {
            Order::Train { .. } if batch_size > len => {
                return Err(Error::Data(format!(
                    "a batch of {batch_size} is larger than the training set of {len} samples; use a smaller batch size"
                )));
            }
            Order::Train { start, end, .. } => {
                let number =
                    |at: Position| u64::from(at.epoch) * (len / batch_size) as u64 + u64::from(at.position);
                // Epochs are numbered by u32; what is left of a u64 of batches never comes to pass.
                let last = number(Position { epoch: u32::MAX, position: 0 });
                let end = match end {
                    End::Epoch(epoch) => number(Position { epoch, position: 0 }),
                    End::Batches(batches) => batches,
                    End::Never => last,
                };
                number(start)..end.min(last)
            }
            Order::Evaluate => 0..len.div_ceil(batch_size) as u64,
        };
        Ok(Batches { order, len, batch_size, remaining, drawn: None })
    }

    /// The next batch: its place and its samples, fewer than the batch size at the end of an evaluation.
    pub(super) fn next(&mut self) -> Option<(Position, &[u32])> {
        let number = self.remaining.next()?;
        let (per_epoch, seed, shuffle) = match self.order {
            Order::Train { seed, shuffle, .. } => ((self.len / self.batch_size) as u64, seed, shuffle),
            Order::Evaluate => (self.len.div_ceil(self.batch_size) as u64, 0, false),
        };
        let at = Position { epoch: (number / per_epoch) as u32, position: (number % per_epoch) as u32 };
        if self.drawn.as_ref().is_none_or(|(epoch, _)| *epoch != at.epoch) {
            self.drawn = Some((at.epoch, epoch_order(self.len, seed, shuffle, at.epoch)));
        }
        let (_, order) = self.drawn.as_ref()?;
        let start = at.position as usize * self.batch_size;
        let end = self.len.min(start.saturating_add(self.batch_size));
        Some((at, &order[start..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_permutation_of_its_own() {
        let mut order = epoch_order(100, 5, true, 2);
        assert_eq!(order, epoch_order(100, 5, true, 2));
        assert_ne!(order, epoch_order(100, 5, true, 3));
        assert_ne!(order, epoch_order(100, 6, true, 2));
        order.sort_unstable();
        assert_eq!(order, epoch_order(100, 5, false, 2));
    }

    #[test]
    fn ends_are_counted_from_the_beginning() {
        let count = |start, end| {
            let order = Order::Train { seed: 0, shuffle: true, start, end };
            let mut batches = Batches::new(order, 10, 3).unwrap();
            std::iter::from_fn(|| batches.next().map(|(at, _)| at)).take(1000).collect::<Vec<_>>()
        };
        let at = |epoch, position| Position { epoch, position };
        assert_eq!(count(at(1, 2), End::Epoch(3)), [at(1, 2), at(2, 0), at(2, 1), at(2, 2)]);
        assert_eq!(count(at(1, 2), End::Batches(7)), [at(1, 2), at(2, 0)]);
        assert_eq!(count(at(1, 3), End::Batches(7)), [at(2, 0)]);
        assert_eq!(count(at(3, 0), End::Epoch(3)), []);
        assert_eq!(count(at(u32::MAX, u32::MAX), End::Never), []);
        assert_eq!(count(at(0, 0), End::Never).len(), 1000);
    }

    #[test]
    fn batch_sizes() {
        assert_eq!(clamp_batch_size(64, 10), (10, true));
        assert_eq!(clamp_batch_size(10, 10), (10, false));
        let train = Order::Train { seed: 0, shuffle: true, start: Position::default(), end: End::Never };
        assert!(Batches::new(train, 10, 11).is_err());
        assert!(Batches::new(train, 10, 0).is_err());
        assert!(Batches::new(Order::Evaluate, 0, 1).is_err());
        let mut batches = Batches::new(Order::Evaluate, 10, usize::MAX).unwrap();
        assert_eq!(batches.next().map(|(_, samples)| samples.len()), Some(10));
        assert!(batches.next().is_none());
    }
}
