use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};

use super::device::Gpu;
use crate::error::{Error, Result};

/// A staging buffer that the host may fill: what a run is given goes up in one, whose turn comes again when the run is
/// done. `Queue::write_buffer` would make a new one for each input of each run.
pub(super) struct Upload {
    buffer: wgpu::Buffer,
}

/// One that a run still copies from.
pub(super) struct Uploading {
    buffer: wgpu::Buffer,
    free: OneshotReceiver<Result<(), wgpu::BufferAsyncError>>,
}

impl Upload {
    pub(super) fn new(gpu: &Gpu, bytes: u64) -> Upload {
        let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("upload"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        });
        Upload { buffer }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.buffer.size()
    }

    /// Writes each buffer's bytes, and adds the copies to the encoder. A last word may be longer than the bytes.
    pub(super) fn fill<'a>(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        parts: impl Iterator<Item = (&'a wgpu::Buffer, &'a [u8])>,
    ) -> Result<()> {
        let mut view = self.buffer.get_mapped_range_mut(..).map_err(|error| {
            let message = format!("what a run is given could not be written: {error}");
            Error::Device { device: gpu.name.clone(), message }
        })?;
        let mut at = 0;
        for (target, bytes) in parts {
            view.slice(at..at + bytes.len()).copy_from_slice(bytes);
            let whole = bytes.len().next_multiple_of(4);
            encoder.copy_buffer_to_buffer(&self.buffer, at as u64, target, 0, whole as u64);
            at += whole;
        }
        drop(view);
        self.buffer.unmap();
        Ok(())
    }

    /// Asks for the buffer back, after the submission that copies from it.
    pub(super) fn submitted(self) -> Uploading {
        let (sender, free) = oneshot_channel();
        self.buffer.map_async(wgpu::MapMode::Write, .., move |result| {
            // The receiver is gone only when the session is: then nobody waits.
            let _ = sender.send(result);
        });
        Uploading { buffer: self.buffer, free }
    }
}

impl Uploading {
    /// The buffer, once the device has polled that its submission is done; none if it cannot be mapped again.
    pub(super) async fn finish(self) -> Option<Upload> {
        matches!(self.free.receive().await, Some(Ok(()))).then_some(Upload { buffer: self.buffer })
    }
}
