use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};

use super::device::Gpu;
use crate::error::{Error, Result};

/// A copy of device memory on its way to the host.
#[derive(Debug)]
pub(super) struct Readback {
    buffer: wgpu::Buffer,
    arrived: OneshotReceiver<Result<(), wgpu::BufferAsyncError>>,
    submission: wgpu::SubmissionIndex,
}

impl Readback {
    /// Asks for the content of a staging buffer as of a submission that copies into it.
    pub(super) fn start(buffer: wgpu::Buffer, submission: wgpu::SubmissionIndex) -> Readback {
        let (sender, arrived) = oneshot_channel();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone only when the session is: then nobody waits.
            let _ = sender.send(result);
        });
        Readback { buffer, arrived, submission }
    }

    /// Waits for the bytes; gives the staging buffer back for reuse.
    pub(super) async fn finish(self, gpu: &Gpu) -> Result<(Vec<u8>, wgpu::Buffer)> {
        let fail = |message: String| Error::Device { device: gpu.name.clone(), message };
        let wait = wgpu::PollType::Wait { submission_index: Some(self.submission), timeout: None };
        let polled = gpu.device.poll(wait);
        gpu.check()?;
        polled.map_err(|error| fail(error.to_string()))?;
        match self.arrived.receive().await {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(fail(format!("a result could not be read back: {error}"))),
            None => return Err(fail("a result was dropped before it was read back".to_string())),
        }
        let bytes = match self.buffer.get_mapped_range(..) {
            Ok(range) => range.to_vec(),
            Err(error) => return Err(fail(format!("a result could not be read back: {error}"))),
        };
        self.buffer.unmap();
        Ok((bytes, self.buffer))
    }
}
