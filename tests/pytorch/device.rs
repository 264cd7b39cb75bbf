//! Where goldens run: the CPU path in f64 and in f32, and every adapter of this machine.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use wgrad::cpu::{self, Element};
use wgrad::gpu::{self, Gpu};
use wgrad::graph::{Real, Step};
use wgrad::plan::{Data, PageList, Program};
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
    let adapters = pollster::block_on(gpu::adapters());
    if adapters.is_empty() {
        assert!(
            std::env::var_os("WGRAD_REQUIRE_GPU").is_none(),
            "WGRAD_REQUIRE_GPU is set, but there is no adapter"
        );
        eprintln!("SKIPPED: this machine has no adapter; GPU kernels were not compared with PyTorch");
    }
    let open = |adapter: &gpu::Adapter| {
        let gpu = pollster::block_on(Gpu::open(adapter)).expect("the adapter opens");
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
    /// Runs the program's first graph, in memory poisoned with NaN; `pages` are those of the parameters and of the
    /// running statistics.
    pub fn run(
        &self,
        program: &Arc<Program>,
        pages: [&[Vec<f32>]; 2],
        inputs: &[(&str, &Tensor)],
    ) -> Result<Outputs, String> {
        match self {
            Device::CpuF64 => Ok(run_cpu::<f64>(program, pages, inputs)),
            Device::CpuF32 => Ok(run_cpu::<f32>(program, pages, inputs)),
            Device::Gpu(_, gpu) => {
                pollster::block_on(run_gpu(gpu, program, pages, inputs)).map_err(|error| error.to_string())
            }
        }
    }
}

const LISTS: [PageList; 2] = [PageList::Parameters, PageList::Statistics];

fn step() -> Step {
    Step { clip_norm: f32::INFINITY, ..Step::default() }
}

fn run_cpu<T: Element>(
    program: &Arc<Program>,
    pages: [&[Vec<f32>]; 2],
    inputs: &[(&str, &Tensor)],
) -> Outputs {
    let mut session = cpu::Session::<T>::new(program.clone()).poisoned();
    for (list, pages) in LISTS.into_iter().zip(pages) {
        for (target, page) in session.pages_mut(list).iter_mut().zip(pages) {
            target.iter_mut().zip(page).for_each(|(target, x)| *target = T::of(f64::from(*x)));
        }
    }
    let floats: Vec<Vec<T>> = inputs.iter().map(|(_, tensor)| tensor.physical()).collect();
    session.run(0, &data(inputs, &floats), &step());
    let names = program.graphs[0].outputs().keys();
    let output = |name| session.output(name).unwrap_or(&[]).iter().map(|x| x.f64()).collect();
    names.map(|name| (name.clone(), output(name))).collect()
}

async fn run_gpu(
    gpu: &Arc<Gpu>,
    program: &Arc<Program>,
    pages: [&[Vec<f32>]; 2],
    inputs: &[(&str, &Tensor)],
) -> wgrad::Result<Outputs> {
    let mut session = gpu::Session::new(gpu.clone(), program.clone(), &serially).await?.poisoned();
    for (list, pages) in LISTS.into_iter().zip(pages) {
        session.write_pages(list, pages);
    }
    let floats: Vec<Vec<f32>> = inputs.iter().map(|(_, tensor)| tensor.physical()).collect();
    session.submit(0, &data(inputs, &floats), &step())?;
    let outputs = session.collect(0).await?.map(|finished| finished.outputs).unwrap_or_default();
    let as_f64 = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
    Ok(outputs.into_iter().map(|(name, values)| (name, as_f64(values))).collect())
}

/// The inputs as a session takes them.
fn data<'a, T: Real>(inputs: &[(&'a str, &'a Tensor)], floats: &'a [Vec<T>]) -> Vec<(&'a str, Data<'a, T>)> {
    let inputs = inputs.iter().zip(floats);
    inputs
        .map(|((name, tensor), floats)| match tensor.desc.dtype {
            DType::F32 => (*name, Data::Real(floats.as_slice())),
            DType::I32 => (*name, Data::Int(tensor.ints.as_slice())),
        })
        .collect()
}
