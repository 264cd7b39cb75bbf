//! Where goldens run: the CPU path in f64 and in f32, and every adapter of this machine.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use pollster::block_on;
use wgrad::cpu::{self, Element};
use wgrad::gpu::{self, Gpu};
use wgrad::graph::{Real, Step};
use wgrad::plan::{Data, PageList, Program, StepReport};
use wgrad::selftest::serially;
use wgrad::tensor::DType;

use super::golden::Tensor;

/// Outputs of a graph by name, in physical order.
pub type Outputs = HashMap<String, Vec<f64>>;

pub enum Device {
    CpuF64,
    CpuF32,
    Gpu(String, Arc<Gpu>),
}

/// The CPU path and every adapter.
pub fn devices() -> Vec<Device> {
    let adapters = block_on(gpu::adapters());
    if adapters.is_empty() {
        assert!(
            std::env::var_os("WGRAD_REQUIRE_GPU").is_none(),
            "WGRAD_REQUIRE_GPU is set, but there is no adapter"
        );
        eprintln!("SKIPPED: this machine has no adapter; GPU kernels were not compared with PyTorch");
    }
    let open = |adapter: &gpu::Adapter| {
        let gpu = block_on(Gpu::open(adapter)).expect("the adapter opens");
        Device::Gpu(adapter.name.clone(), Arc::new(gpu))
    };
    [Device::CpuF64, Device::CpuF32].into_iter().chain(adapters.iter().map(open)).collect()
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::CpuF64 => write!(f, "the CPU in f64"),
            Device::CpuF32 => write!(f, "the CPU in f32"),
            Device::Gpu(name, _) => write!(f, "{name}"),
        }
    }
}

impl Device {
    /// A session whose memory is poisoned with NaN; `pages` are those of the parameters and of the running statistics.
    pub fn open(&self, program: &Arc<Program>, pages: [&[Vec<f32>]; 2]) -> Result<Session, String> {
        match self {
            Device::CpuF64 => Ok(Session::F64(Box::new(open_cpu(program, pages)))),
            Device::CpuF32 => Ok(Session::F32(Box::new(open_cpu(program, pages)))),
            Device::Gpu(_, gpu) => {
                let session = block_on(gpu::Session::new(gpu.clone(), program.clone(), &serially));
                let mut session = session.map_err(|error| error.to_string())?.poisoned();
                for (list, pages) in LISTS.into_iter().zip(pages) {
                    session.write_pages(list, pages);
                }
                Ok(Session::Gpu(Box::new(session)))
            }
        }
    }

    /// Runs the program's first graph once.
    pub fn run(
        &self,
        program: &Arc<Program>,
        pages: [&[Vec<f32>]; 2],
        inputs: &[(&str, &Tensor)],
    ) -> Result<Outputs, String> {
        let step = Step { clip_norm: f32::INFINITY, ..Step::default() };
        self.open(program, pages)?.run(program, 0, inputs, &step).map(|(_, outputs)| outputs)
    }
}

/// A program on a device.
pub enum Session {
    F64(Box<cpu::Session<f64>>),
    F32(Box<cpu::Session<f32>>),
    Gpu(Box<gpu::Session>),
}

impl Session {
    /// Runs a graph and waits for its report and its outputs. A training step on a GPU gives no outputs, another run
    /// on a GPU no report.
    pub fn run(
        &mut self,
        program: &Program,
        graph: usize,
        inputs: &[(&str, &Tensor)],
        step: &Step,
    ) -> Result<(Option<StepReport>, Outputs), String> {
        match self {
            Session::F64(session) => Ok(run_cpu(session, program, graph, inputs, step)),
            Session::F32(session) => Ok(run_cpu(session, program, graph, inputs, step)),
            Session::Gpu(session) => {
                let floats: Vec<Vec<f32>> = inputs.iter().map(|(_, tensor)| tensor.physical()).collect();
                let submitted = session.submit(graph, &data(inputs, &floats), step);
                let finished = submitted.and_then(|()| block_on(session.collect(0)));
                let finished = finished.map_err(|error| error.to_string())?.ok_or("nothing was in flight")?;
                let outputs = finished.outputs.iter().map(|(name, values)| (name.clone(), widened(values)));
                Ok((finished.report, outputs.collect()))
            }
        }
    }

    /// The pages of a list.
    pub fn pages(&mut self, list: PageList) -> Result<Vec<Vec<f64>>, String> {
        match self {
            Session::F64(session) => Ok(session.pages(list).to_vec()),
            Session::F32(session) => Ok(session.pages(list).iter().map(|page| widened(page)).collect()),
            Session::Gpu(session) => {
                let pages = block_on(session.read_pages(list)).map_err(|error| error.to_string())?;
                Ok(pages.iter().map(|page| widened(page)).collect())
            }
        }
    }
}

const LISTS: [PageList; 2] = [PageList::Parameters, PageList::Statistics];

fn open_cpu<T: Element>(program: &Arc<Program>, pages: [&[Vec<f32>]; 2]) -> cpu::Session<T> {
    let mut session = cpu::Session::<T>::new(program.clone()).poisoned();
    for (list, pages) in LISTS.into_iter().zip(pages) {
        for (target, page) in session.pages_mut(list).iter_mut().zip(pages) {
            target.iter_mut().zip(page).for_each(|(target, x)| *target = T::of(f64::from(*x)));
        }
    }
    session
}

fn run_cpu<T: Element>(
    session: &mut cpu::Session<T>,
    program: &Program,
    graph: usize,
    inputs: &[(&str, &Tensor)],
    step: &Step,
) -> (Option<StepReport>, Outputs) {
    let floats: Vec<Vec<T>> = inputs.iter().map(|(_, tensor)| tensor.physical()).collect();
    let report = session.run(graph, &data(inputs, &floats), step);
    let names = program.graphs[graph].outputs().keys();
    let output = |name: &String| widened(session.output(name).unwrap_or(&[]));
    (Some(report), names.map(|name| (name.clone(), output(name))).collect())
}

fn widened<T: Real>(values: &[T]) -> Vec<f64> {
    values.iter().map(|x| x.f64()).collect()
}

/// The inputs as a session takes them.
fn data<'a, T: Real>(inputs: &[(&'a str, &'a Tensor)], floats: &'a [Vec<T>]) -> Vec<(&'a str, Data<'a, T>)> {
    let inputs = inputs.iter().zip(floats);
    inputs
        .map(|((name, tensor), floats)| match tensor.desc.dtype {
            DType::F32 | DType::F16 => (*name, Data::Real(floats.as_slice())),
            DType::I32 => (*name, Data::Int(tensor.ints.as_slice())),
            DType::U8 => panic!("{name}: the goldens have no bytes"),
        })
        .collect()
}
