//! What a step does so that it fits into the device's memory: recompute activations, and then go in micro-batches.

use std::sync::Arc;

use super::device::Device;
use super::recipe::Recompute;
use super::session::Session;
use crate::error::{Error, Result};
use crate::graph::Capabilities;
use crate::plan::{MemoryUse, Plan, Program};

/// What a step may take, and in which pieces it may be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// Samples of the whole step.
    pub batch_size: usize,
    /// Samples that have to stay together in a micro-batch: 2 where pairs are mixed, else 1 (or 0).
    pub group: usize,
    /// Samples of a micro-batch; if it is left open, the most that fit.
    pub micro_batch_size: Option<usize>,
    /// Bytes that the run may allocate, on a CPU by the plan's prediction; if it is left open, what the device has.
    pub memory_limit: Option<u64>,
    /// Whether activations that are cheap to make again are kept for the backward pass.
    pub recompute: Recompute,
}

/// A program that fits, with the session that runs it.
pub struct Fitted {
    /// The program; its graphs are made for a micro-batch.
    pub program: Arc<Program>,
    /// Its session.
    pub session: Session,
    /// Samples of a micro-batch; the batch size if the step is done in one piece.
    pub micro_batch_size: usize,
    /// Whether activations are made again in the backward pass.
    pub recomputes: bool,
}

/// What a program will allocate on a device; on the CPU, what it would on a GPU without limits.
pub fn predicted(device: &Device, program: &Program) -> Result<MemoryUse> {
    let capabilities = match device {
        Device::Gpu(gpu) => gpu.capabilities.clone(),
        Device::Cpu => Capabilities {
            max_storage_binding: u64::MAX,
            max_buffer: u64::MAX,
            max_workgroups: u32::MAX,
            ..Capabilities::PORTABLE
        },
    };
    let lower = |graph| Plan::lower(program, graph, &capabilities);
    let plans = program.graphs.iter().map(lower).collect::<Result<Vec<Plan>>>()?;
    Ok(MemoryUse::of(program, &plans))
}

impl Fit {
    /// Builds the program for the largest micro-batch that fits. `build` makes it for a number of samples per run.
    pub async fn find(&self, device: &Device, build: impl Fn(usize) -> Result<Program>) -> Result<Fitted> {
        let mut too_large = None;
        for size in self.sizes()? {
            for recompute in self.recompute.attempts(device) {
                match self.attempt(device, &build, size, *recompute).await {
                    Ok(Some(fitted)) => return Ok(fitted),
                    Ok(None) => {}
                    Err(error @ Error::OutOfMemory { .. }) => too_large = Some(error),
                    // What is too small, such as one sample for batch norm, is no reason to hide that more do not fit.
                    Err(error) => return Err(too_large.unwrap_or(error)),
                }
            }
        }
        let what = "a step, even in micro-batches of one sample".to_string();
        Err(too_large.unwrap_or(Error::OutOfMemory { device: device.name(), what }))
    }

    /// Sizes of micro-batches to try: all that divide the batch, largest first, or the one that was asked for.
    fn sizes(&self) -> Result<Vec<usize>> {
        let batch = self.batch_size;
        let mut divisors: Vec<usize> = (1..=batch).rev().filter(|size| batch.is_multiple_of(*size)).collect();
        divisors.retain(|size| *size == batch || size.is_multiple_of(self.group.max(1)));
        if let Some(size) = self.micro_batch_size {
            if !divisors.contains(&size) {
                divisors.reverse();
                let divisors: Vec<String> = divisors.iter().map(usize::to_string).collect();
                return Err(Error::Recipe(format!(
                    "--micro-batch-size is {size}; it must divide the batch size {batch}{}: {}",
                    if self.group > 1 { " and be even, for samples are mixed in pairs" } else { "" },
                    divisors.join(", ")
                )));
            }
            return Ok(vec![size]);
        }
        Ok(divisors)
    }

    /// Builds a program and its session; nothing if it is what has been tried without recomputation.
    async fn attempt(
        &self,
        device: &Device,
        build: &impl Fn(usize) -> Result<Program>,
        size: usize,
        recompute: bool,
    ) -> Result<Option<Fitted>> {
        let mut program = build(size)?.in_micro_batches(self.batch_size / size);
        let recomputes = recompute && program.recompute()?;
        if recompute && !recomputes && self.recompute.attempts(device).contains(&false) {
            return Ok(None);
        }
        if let Some(limit) = self.memory_limit {
            let needed = predicted(device, &program)?.total();
            if needed > limit {
                return Err(Error::OutOfMemory {
                    device: format!("(which --memory-limit holds to {:.1} MiB)", limit as f64 / 1048576.0),
                    what: format!(
                        "a run with {size} samples at a time, {:.1} MiB",
                        needed as f64 / 1048576.0
                    ),
                });
            }
        }
        let program = Arc::new(program);
        let session = Session::new(device, program.clone()).await?;
        Ok(Some(Fitted { program, session, micro_batch_size: size, recomputes }))
    }
}

impl Recompute {
    /// Whether to recompute, by what is tried first. On the CPU that costs little time; on a GPU memory is what a step waits
    /// for, so there it is for what would not fit otherwise.
    pub(super) fn attempts(self, device: &Device) -> &'static [bool] {
        match (self, device) {
            (Recompute::Never, _) => &[false],
            (Recompute::Always, _) | (Recompute::Auto, Device::Cpu) => &[true],
            (Recompute::Auto, Device::Gpu(_)) => &[false, true],
        }
    }
}
