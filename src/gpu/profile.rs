//! Where a run spends its time: by timestamps of the device, or by waiting for each command where it has none.

use super::prepared::{Prepared, encode};
use super::readback::Readback;
use super::session::Session;
use crate::error::{Error, Result};
use crate::graph::Step;
use crate::plan::{Command, Data, KernelTime};

/// Commands whose two timestamps fit in one query set.
const PER_SET: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

/// Bytes of a timestamp.
const TICKS: u64 = size_of::<u64>() as u64;

impl Session {
    /// Runs a graph once, each command by itself, and gives the time of each, in order. `clock` counts seconds; it is
    /// asked only if [`Session::has_timestamps`] says no.
    pub async fn profile(
        &mut self,
        graph: usize,
        inputs: &[(&str, Data<'_, f32>)],
        step: &Step,
        clock: &dyn Fn() -> f64,
    ) -> Result<Vec<KernelTime>> {
        self.gpu.check()?;
        for (buffer, bytes) in self.plans[graph].parts(inputs) {
            self.gpu.write(buffer, 0, bytes);
        }
        self.gpu.queue.write_buffer(&self.shared.step, 0, &step.bytes());
        let prepared = self.plans[graph].ready(&self.gpu)?;
        let spans = if self.has_timestamps() {
            self.read_timestamps(prepared).await?
        } else {
            self.wait_for_each(prepared, clock)?
        };
        let commands = self.plans[graph].plan.commands.iter().zip(spans);
        Ok(commands.map(|(command, (began, seconds)): (&Command, _)| command.timed(began, seconds)).collect())
    }

    /// Whether the device counts the time of its commands itself.
    pub fn has_timestamps(&self) -> bool {
        self.gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Beginning and duration of each command, in seconds.
    async fn read_timestamps(&self, commands: &[Prepared]) -> Result<Vec<(f64, f64)>> {
        let device = &self.gpu.device;
        let bytes = (commands.len().max(1) as u64) * 2 * TICKS;
        let resolved = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: bytes,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut encoder =
            device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("profile") });
        for (index, commands) in commands.chunks(PER_SET).enumerate() {
            let count = commands.len() as u32 * 2;
            let set = device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count,
            });
            for (index, command) in commands.iter().enumerate() {
                encode_between(command, &mut encoder, &set, index as u32 * 2);
            }
            encoder.resolve_query_set(&set, 0..count, &resolved, (index * PER_SET) as u64 * 2 * TICKS);
        }
        let staging = self.gpu.staging(bytes);
        encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, bytes);
        let submission = self.gpu.queue.submit([encoder.finish()]);
        let (bytes, _) = Readback::start(staging, submission).finish(&self.gpu).await?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        let period = f64::from(self.gpu.queue.get_timestamp_period()) * 1e-9;
        let since = |from: u64, to: u64| to.saturating_sub(from) as f64 * period;
        let first = ticks[0];
        Ok(ticks.chunks_exact(2).map(|span| (since(first, span[0]), since(span[0], span[1]))).collect())
    }

    /// Submits each command by itself and waits for it.
    fn wait_for_each(&self, commands: &[Prepared], clock: &dyn Fn() -> f64) -> Result<Vec<(f64, f64)>> {
        let start = clock();
        let spans = commands.iter().map(|command| {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            encode(std::slice::from_ref(command), &mut encoder);
            let began = clock();
            let submission_index = Some(self.gpu.queue.submit([encoder.finish()]));
            let wait = wgpu::PollType::Wait { submission_index, timeout: None };
            let polled = self.gpu.device.poll(wait);
            self.gpu.check()?;
            polled.map_err(|error| Error::Device {
                device: self.gpu.name.clone(),
                message: error.to_string(),
            })?;
            Ok((began - start, clock() - began))
        });
        spans.collect()
    }
}

/// Encodes a command between the timestamps `first` and `first + 1`.
fn encode_between(command: &Prepared, encoder: &mut wgpu::CommandEncoder, set: &wgpu::QuerySet, first: u32) {
    let (begin, end) = (Some(first), Some(first + 1));
    if let Prepared::Dispatch { .. } = command {
        command.record(&mut pass(encoder, set, begin, end));
        return;
    }
    // A copy has no pass: empty ones around it write the time.
    drop(pass(encoder, set, begin, None));
    encode(std::slice::from_ref(command), encoder);
    drop(pass(encoder, set, end, None));
}

/// A pass that writes timestamps when it begins and when it ends.
fn pass<'a>(
    encoder: &'a mut wgpu::CommandEncoder,
    query_set: &wgpu::QuerySet,
    beginning_of_pass_write_index: Option<u32>,
    end_of_pass_write_index: Option<u32>,
) -> wgpu::ComputePass<'a> {
    let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
        query_set,
        beginning_of_pass_write_index,
        end_of_pass_write_index,
    });
    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes })
}
