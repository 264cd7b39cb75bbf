use super::prepared::encode;
use super::session::Session;
use crate::error::{Error, Result};
use crate::plan::Command;

impl Session {
    /// Runs each dispatch of a graph by itself, with whatever is in memory, and gives each one's label and the seconds
    /// that `clock` counted for it.
    pub async fn profile(&mut self, graph: usize, clock: &dyn Fn() -> f64) -> Result<Vec<(String, f64)>> {
        let plan = &self.plans[graph];
        let labels = plan.plan.commands.iter().map(|command| match command {
            Command::Dispatch { label, dispatch } => {
                format!("{label} ({}.{})", dispatch.shader, dispatch.entry)
            }
            Command::Copy { .. } => "copy".to_string(),
        });
        let mut times = vec![];
        for (label, command) in labels.zip(&plan.commands) {
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
            times.push((label, clock() - began));
        }
        Ok(times)
    }
}
