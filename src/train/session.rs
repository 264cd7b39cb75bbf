use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;

use super::device::{Device, in_parallel};
use crate::error::Result;
use crate::graph::{LossScale, Step};
use crate::plan::{Data, Finished, KernelTime, PageList, Program, Resident};
use crate::{cpu, gpu};

/// A program on a device. Runs are submitted and collected in order; on the CPU they are done when submitted.
pub enum Session {
    /// On the host.
    Cpu(Box<cpu::Session<f32>>, Arc<Program>, VecDeque<Finished>),
    /// On a GPU.
    Gpu(Box<gpu::Session>, Arc<Program>),
}

impl Session {
    /// Allocates a program on a device; all pages start zeroed. The first graph is prepared too.
    pub async fn new(device: &Device, program: Arc<Program>) -> Result<Session> {
        Ok(match device {
            Device::Cpu => {
                Session::Cpu(Box::new(cpu::Session::new(program.clone())), program, VecDeque::new())
            }
            Device::Gpu(gpu) => {
                let mut session = gpu::Session::unprepared(gpu.clone(), program.clone()).await?;
                session.prepare(0, &in_parallel).await?;
                Session::Gpu(Box::new(session), program)
            }
        })
    }

    /// Compiles what a graph needs, so that it can be submitted. All but the first are left until they are first needed:
    /// the kernels of an evaluation do not delay the first step.
    pub async fn prepare(&mut self, graph: usize) -> Result<()> {
        match self {
            Session::Gpu(session, _) => session.prepare(graph, &in_parallel).await,
            Session::Cpu(..) => Ok(()),
        }
    }

    /// Queues a run of a graph that is [prepared](Session::prepare), on inputs by name, in physical order (images `N, H, W, C`).
    ///
    /// # Errors
    /// If the inputs are not the graph's, or the device fails.
    pub fn submit(&mut self, graph: usize, inputs: &[(&str, Data<'_, f32>)], step: &Step) -> Result<()> {
        match self {
            Session::Gpu(session, program) => {
                program.check_inputs(graph, inputs)?;
                session.submit(graph, inputs, step)
            }
            Session::Cpu(session, program, done) => {
                program.check_inputs(graph, inputs)?;
                let report = session.run(graph, inputs, step);
                let trains = program.optimizer.is_some() && !program.graphs[graph].gradients().is_empty();
                let report = trains.then_some(report);
                let mut outputs = HashMap::new();
                if !trains {
                    let names = program.graphs[graph].outputs().keys();
                    outputs.extend(
                        names.filter_map(|name| Some((name.clone(), session.output(name)?.to_vec()))),
                    );
                }
                done.push_back(Finished { graph, report, outputs });
                Ok(())
            }
        }
    }

    /// The oldest run with its outputs, waiting for it if more than `leave` are in flight; none otherwise.
    pub async fn collect(&mut self, leave: usize) -> Result<Option<Finished>> {
        match self {
            Session::Gpu(session, _) => session.collect(leave).await,
            Session::Cpu(_, _, done) => Ok(done.pop_front()),
        }
    }

    /// Supplies data that stays with the session. Every resident of the program is written before its graphs run.
    pub async fn write_resident(&mut self, name: &str, data: &Resident<f32>) -> Result<()> {
        match self {
            Session::Gpu(session, program) => {
                let index = program.check_resident(name, &data.data())?;
                session.write_resident(index, &data.data()).await
            }
            Session::Cpu(session, program, _) => {
                program.check_resident(name, &data.data())?;
                session.write_resident(name, data.clone());
                Ok(())
            }
        }
    }

    /// Sets the scale of the next step's gradients.
    pub fn set_loss_scale(&mut self, loss_scale: LossScale) {
        match self {
            Session::Gpu(session, _) => session.set_loss_scale(loss_scale),
            Session::Cpu(session, ..) => session.set_loss_scale(loss_scale),
        }
    }

    /// Overwrites the pages of a list.
    pub fn write_pages(&mut self, list: PageList, pages: &[Vec<f32>]) {
        /// Elements that one thread copies at a time.
        const PIECE: usize = 1 << 18;
        match self {
            Session::Gpu(session, _) => session.write_pages(list, pages),
            Session::Cpu(session, ..) => {
                for (own, given) in session.pages_mut(list).iter_mut().zip(pages) {
                    // In pieces, because what is written for the first time is made by the system page by page.
                    let pieces = own.par_chunks_mut(PIECE).zip(given.par_chunks(PIECE));
                    pieces.for_each(|(own, given)| own.copy_from_slice(given));
                }
            }
        }
    }

    /// Exchanges two lists of pages that are laid out alike.
    pub async fn swap_pages(&mut self, lists: [PageList; 2]) -> Result<()> {
        match self {
            Session::Gpu(session, _) => session.swap_pages(lists).await,
            Session::Cpu(session, ..) => {
                session.swap_pages(lists);
                Ok(())
            }
        }
    }

    /// The pages of a list, after all that is queued.
    pub async fn read_pages(&mut self, list: PageList) -> Result<Vec<Vec<f32>>> {
        match self {
            Session::Gpu(session, _) => session.read_pages(list).await,
            Session::Cpu(session, ..) => Ok(session.pages(list).to_vec()),
        }
    }

    /// Runs a graph once and gives the time of each of its kernels, in order.
    pub async fn profile(
        &mut self,
        graph: usize,
        inputs: &[(&str, Data<'_, f32>)],
        step: &Step,
    ) -> Result<Vec<KernelTime>> {
        let began = Instant::now();
        match self {
            Session::Gpu(session, _) => {
                session.profile(graph, inputs, step, &|| began.elapsed().as_secs_f64()).await
            }
            Session::Cpu(session, ..) => Ok(session.profile(graph, inputs, step)),
        }
    }

    /// Whether the device counts the time of its commands itself.
    pub fn has_timestamps(&self) -> bool {
        matches!(self, Session::Gpu(session, _) if session.has_timestamps())
    }

    /// Bytes of all buffers on a GPU.
    pub fn device_bytes(&self) -> Option<u64> {
        match self {
            Session::Gpu(session, _) => Some(session.device_bytes()),
            Session::Cpu(..) => None,
        }
    }
}
