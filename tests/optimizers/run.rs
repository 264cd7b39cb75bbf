//! The updates of one program, step by step, on the CPU in f64 or f32, or on a GPU.

use std::collections::HashMap;
use std::sync::Arc;

use pollster::block_on;
use wgrad::gpu::{self, Gpu};
use wgrad::graph::{GradientRule, Graph, Init, Mode, ParameterGroup, Real, Step, TensorDesc, Update};
use wgrad::optim::AdaptiveClip;
use wgrad::plan::{Data, Optimizer, PageList, Program, StepReport};
use wgrad::tensor::Shape;
use wgrad::{cpu, selftest};

/// Where updates are run.
#[derive(Clone)]
pub enum Device {
    F64,
    F32,
    Gpu(Arc<Gpu>),
}

impl Device {
    /// The CPU in both types, and every adapter of this machine.
    pub fn all() -> Vec<Device> {
        let adapters = block_on(gpu::adapters());
        if adapters.is_empty() {
            assert!(
                std::env::var_os("WGRAD_REQUIRE_GPU").is_none(),
                "WGRAD_REQUIRE_GPU is set, but there is no adapter"
            );
            eprintln!("SKIPPED: this machine has no adapter; updates on the GPU were not compared");
        }
        let open = |adapter| Device::Gpu(Arc::new(block_on(Gpu::open(adapter)).expect("the adapter opens")));
        [Device::F64, Device::F32].into_iter().chain(adapters.iter().map(open)).collect()
    }

    pub fn name(&self) -> &str {
        match self {
            Device::F64 => "cpu f64",
            Device::F32 => "cpu f32",
            Device::Gpu(gpu) => &gpu.name,
        }
    }
}

/// A step: its numbers, the gradients and the loss.
pub type RunStep = (Step, Vec<Vec<f32>>, f32);

/// Tensors of given shapes whose gradients, loss and batch statistics come from outside.
pub struct Run {
    program: Arc<Program>,
    session: Session,
}

enum Session {
    F64(cpu::Session<f64>),
    F32(cpu::Session<f32>),
    Gpu(gpu::Session),
}

impl Run {
    pub fn new(device: &Device, initial: &[(Shape, Vec<f32>)], update: Arc<dyn Update>, decay: f32) -> Run {
        Run::clipped(device, initial, update, decay, None)
    }

    /// The same with gradients clipped by units.
    pub fn clipped(
        device: &Device,
        initial: &[(Shape, Vec<f32>)],
        update: Arc<dyn Update>,
        decay: f32,
        clip: Option<AdaptiveClip>,
    ) -> Run {
        let clip = clip.map(|clip| Arc::new(clip) as Arc<dyn GradientRule>);
        let program = Arc::new(program(initial, update, decay, clip));
        let set = &program.pages.parameters;
        let mut pages = set.zeroed();
        for ((name, ..), (_, data)) in set.tensors().iter().zip(initial) {
            set.store(&mut pages, name, data);
        }
        let session = match device {
            Device::F64 => Session::F64(on_cpu(&program, &pages)),
            Device::F32 => Session::F32(on_cpu(&program, &pages)),
            Device::Gpu(gpu) => {
                let session = gpu::Session::new(gpu.clone(), program.clone(), &selftest::serially);
                let mut session = block_on(session).unwrap().poisoned();
                session.write_pages(PageList::Parameters, &pages);
                Session::Gpu(session)
            }
        };
        Run { program, session }
    }

    /// Runs steps, all of which are submitted before the first is waited for.
    pub fn steps(&mut self, steps: &[RunStep]) -> Vec<StepReport> {
        match &mut self.session {
            Session::F64(session) => steps.iter().map(|step| step_on_cpu(session, step)).collect(),
            Session::F32(session) => steps.iter().map(|step| step_on_cpu(session, step)).collect(),
            Session::Gpu(session) => {
                for (step, gradients, loss) in steps {
                    let data = named::<f32>(gradients, *loss);
                    session.submit(0, &views(&data), step).unwrap();
                }
                let report = |_| block_on(session.collect(0)).unwrap().unwrap().report.unwrap();
                steps.iter().map(report).collect()
            }
        }
    }

    /// A tensor of the parameters or of a slot. None of the shapes here has four dimensions, so that the physical
    /// order is PyTorch's.
    pub fn tensor(&mut self, list: PageList, index: usize) -> Vec<f64> {
        let span = self.program.pages.parameters.tensors()[index].2[0];
        self.pages(list)[span.page][span.offset..span.offset + span.len].to_vec()
    }

    /// All that an update may change.
    pub fn state(&mut self) -> Vec<Vec<f64>> {
        let slots = (0..self.slots().len()).map(PageList::Slot);
        let lists = [PageList::Parameters, PageList::Statistics].into_iter().chain(slots);
        lists.flat_map(|list| self.pages(list)).collect()
    }

    /// The names of the optimizer's state arrays.
    pub fn slots(&self) -> &'static [&'static str] {
        self.program.slots()
    }

    fn pages(&mut self, list: PageList) -> Vec<Vec<f64>> {
        fn widened<T: Real>(pages: &[Vec<T>]) -> Vec<Vec<f64>> {
            pages.iter().map(|page| page.iter().map(|x| x.f64()).collect()).collect()
        }
        match &mut self.session {
            Session::F64(session) => session.pages(list).to_vec(),
            Session::F32(session) => widened(session.pages(list)),
            Session::Gpu(session) => widened(&block_on(session.read_pages(list)).unwrap()),
        }
    }
}

fn program(
    tensors: &[(Shape, Vec<f32>)],
    update: Arc<dyn Update>,
    weight_decay: f32,
    clip: Option<Arc<dyn GradientRule>>,
) -> Program {
    let mut graph = Graph::new(Mode::Train);
    for (i, (shape, _)) in tensors.iter().enumerate() {
        let parameter = graph.parameter(&format!("{i}.weight"), shape.clone(), Init::Default).unwrap();
        let gradient = graph.input(&format!("grad.{i}"), TensorDesc::f32(shape.clone()));
        graph.set_gradient(parameter, gradient);
    }
    let running = graph.statistic("running", [3], 0.0).unwrap();
    let batch = graph.input("batch", TensorDesc::f32([3]));
    graph.update_statistic(running, batch, 0.1);
    let loss = graph.input("loss", TensorDesc::f32([]));
    graph.output("loss", loss);
    let groups = vec![ParameterGroup { rate: 1.0, weight_decay }; tensors.len()];
    let optimizer = Optimizer { clip, ..Optimizer::new(update, groups) };
    Program::new(vec![graph], Some(optimizer), 128 << 20).unwrap()
}

fn on_cpu<T: cpu::Element>(program: &Arc<Program>, pages: &[Vec<f32>]) -> cpu::Session<T> {
    let mut session = cpu::Session::new(program.clone()).poisoned();
    for (page, values) in session.pages_mut(PageList::Parameters).iter_mut().zip(pages) {
        *page = numbers(values);
    }
    session
}

fn step_on_cpu<T: cpu::Element>(
    session: &mut cpu::Session<T>,
    (step, gradients, loss): &RunStep,
) -> StepReport {
    let data = named::<T>(gradients, *loss);
    session.run(0, &views(&data), step)
}

/// The inputs of the program, by name.
fn named<T: Real>(gradients: &[Vec<f32>], loss: f32) -> HashMap<String, Vec<T>> {
    let gradients = gradients.iter().enumerate().map(|(i, data)| (format!("grad.{i}"), numbers(data)));
    let others = [("loss", vec![loss]), ("batch", vec![1.0, 2.0, 4.0])];
    gradients.chain(others.map(|(name, data)| (name.to_string(), numbers(&data)))).collect()
}

fn views<T>(data: &HashMap<String, Vec<T>>) -> Vec<(&str, Data<'_, T>)> {
    data.iter().map(|(name, data)| (name.as_str(), Data::Real(data))).collect()
}

fn numbers<T: Real>(data: &[f32]) -> Vec<T> {
    data.iter().map(|x| T::of(f64::from(*x))).collect()
}
