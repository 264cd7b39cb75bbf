//! What a step of the run takes: memory, and the time of each kernel.

use std::time::{Duration, Instant};

use super::Trainer;
use crate::data::{End, Order, Position};
use crate::error::Result;
use crate::plan::{KernelTime, MemoryUse};
use crate::train::micro_batches;
use crate::train::program::TRAIN;

/// Runs of which a kernel's time is the median, as long as they take less than [`ENOUGH`] in all.
const RUNS: usize = 5;
const ENOUGH: Duration = Duration::from_millis(300);

impl Trainer<'_> {
    /// What the run allocates on its device; on the CPU, what it would on a GPU without limits.
    pub fn memory(&self) -> Result<MemoryUse> {
        micro_batches::predicted(&self.parts.device, &self.assembly.program)
    }

    /// The time of each kernel of a training step, in order, on the run's first batch; none if a step is done in several
    /// pieces. The steps change the weights, so this is the end of the run.
    pub async fn profile(mut self) -> Result<Vec<KernelTime>> {
        if self.assembly.program.micro_batches > 1 {
            return Ok(vec![]);
        }
        let (split, batch_size) = (&self.parts.data.train, self.settings.batch_size);
        let (seed, shuffle, start) = (self.settings.seed, self.settings.shuffle, Position::default());
        let order = Order::Train { seed, shuffle, start, end: End::Batches(1) };
        let Some(batch) = self.assembly.feed.feed.loader(split, batch_size, order)?.next() else {
            return Ok(vec![]);
        };
        let batch = batch?;
        let (places, drawn) = self.fed(&batch);
        let step = self.step(0, self.total_steps())?;
        let inputs = self.assembly.feed.inputs(&batch, &places, &drawn);
        let begun = Instant::now();
        let mut runs: Vec<Vec<KernelTime>> = vec![];
        self.assembly.session.prepare(TRAIN).await?;
        while runs.is_empty() || runs.len() < RUNS && begun.elapsed() < ENOUGH {
            runs.push(self.assembly.session.profile(TRAIN, &inputs, &step).await?);
        }
        let mut last = runs.last().cloned().unwrap_or_default();
        for (index, kernel) in last.iter_mut().enumerate() {
            let mut seconds: Vec<f64> = runs.iter().map(|run| run[index].seconds).collect();
            seconds.sort_by(f64::total_cmp);
            kernel.seconds = seconds[seconds.len() / 2];
        }
        Ok(last)
    }
}
