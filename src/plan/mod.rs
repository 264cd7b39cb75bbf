//! From a graph to plain data that an executor runs: dispatches in order, buffers with lifetimes, pages.
//!
//! Everything here is a pure function: a plan can be built and printed on a machine without a GPU.

mod colour;
mod half_parameters;
mod liveness;
mod lowering;
mod memory;
mod micro_batches;
mod pages;
mod print;
mod profile;
mod recompute;
mod resident;
mod shader;
mod split;
mod stage;
mod update;

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;

pub use colour::BINDING_UNIT;
pub(crate) use colour::{Lifetime, colour};
pub use liveness::Liveness;
pub use memory::{MemoryUse, RUNS_IN_FLIGHT, UNIFORM_SLOT, buffer_bytes, page_lists, shared_temporaries};
pub use micro_batches::micro_inputs;
pub use pages::{PageSet, Pages, Span, TensorPlace};
pub use print::describe;
pub use profile::KernelTime;
pub use resident::{Data, Resident};
pub use shader::{shader_hash, shader_text, shaders};
pub use split::Split;
pub use stage::{Stage, Stages};

use crate::error::{Error, Result};
use crate::graph::{
    Capabilities, Choice, Dispatch, GradientRule, Graph, LossScale, NodeKind, ParameterGroup, TensorDesc,
    Update,
};

/// What a session runs: graphs that share pages, and how the parameters are updated.
#[derive(Debug)]
pub struct Program {
    /// The graphs; a training session has the training graph first, the evaluation graph second.
    pub graphs: Vec<Graph>,
    /// Where parameters and running statistics lie.
    pub pages: Pages,
    /// What the caller supplies once ([`NodeKind::Resident`]), by name; shared by the graphs.
    pub residents: IndexMap<String, TensorDesc>,
    /// The optimizer; none for inference and for tests of operators.
    pub optimizer: Option<Optimizer>,
    /// What the optimizer's update consists of.
    pub stages: Stages,
    /// In how many equal parts the batch of a training step comes ([`Program::in_micro_batches`]).
    pub micro_batches: usize,
}

/// An optimizer with the settings of each parameter.
#[derive(Clone, Debug)]
pub struct Optimizer {
    /// The elementwise rule.
    pub update: Arc<dyn Update>,
    /// One entry per parameter, in the graph's order.
    pub groups: Vec<ParameterGroup>,
    /// Whether running averages of parameters and statistics are kept ([`PageList::Ema`]).
    pub averages: bool,
    /// What clips gradients by layers or units before the update.
    pub clip: Option<Arc<dyn GradientRule>>,
}

impl Optimizer {
    /// An optimizer without running averages and clipping by layers.
    pub fn new(update: Arc<dyn Update>, groups: Vec<ParameterGroup>) -> Optimizer {
        Optimizer { update, groups, averages: false, clip: None }
    }
}

impl Program {
    /// Puts graphs together; all parameters and statistics of later graphs must be in the first. `max_page_bytes` is the
    /// most that the device binds at once ([`crate::train::Device::max_page_bytes`]); for the host, which takes weights whole,
    /// `u64::MAX`.
    ///
    /// # Errors
    /// If graphs disagree on a parameter, a statistic or a resident, or one is in a later graph only.
    pub fn new(graphs: Vec<Graph>, optimizer: Option<Optimizer>, max_page_bytes: u64) -> Result<Program> {
        let pages = Pages::of(&graphs, max_page_bytes)?;
        let residents = resident::residents(&graphs)?;
        let trained = optimizer.as_ref().zip(graphs.first());
        let stages = trained.map(|(optimizer, train)| Stages::of(optimizer, train)).transpose()?;
        let stages = stages.unwrap_or_default();
        Ok(Program { graphs, pages, residents, optimizer, stages, micro_batches: 1 })
    }

    /// Refuses a run whose inputs are not exactly those of a graph, by name, type and number of elements.
    ///
    /// # Errors
    /// The first that is missing or does not fit.
    pub fn check_inputs<T>(&self, graph: usize, inputs: &[(&str, Data<'_, T>)]) -> Result<()> {
        let nodes = self.graphs[graph].nodes().iter().filter(|node| matches!(node.kind, NodeKind::Input));
        for node in nodes {
            let (name, desc) = (&node.name, &node.outputs[0]);
            let given = inputs.iter().find(|(given, _)| given == name).map(|(_, data)| data);
            resident::check(name, &self.whole_input(graph, desc), given)?;
        }
        Ok(())
    }

    /// The place of a resident among the program's, if it takes this data.
    pub fn check_resident<T>(&self, name: &str, data: &Data<'_, T>) -> Result<usize> {
        let Some((index, _, desc)) = self.residents.get_full(name) else {
            return Err(Error::Data(format!("the program keeps no data \"{name}\" on the device")));
        };
        resident::check(name, desc, Some(data))?;
        Ok(index)
    }

    /// Bytes of all residents on a device.
    pub fn resident_bytes(&self) -> u64 {
        self.residents.values().map(|desc| desc.bytes() as u64).sum()
    }

    /// Whether gradients are scaled, because values may be f16.
    pub fn scales_loss(&self) -> bool {
        self.optimizer.is_some() && self.graphs.first().is_some_and(Graph::is_half)
    }

    /// The loss scale of the first step.
    pub fn initial_loss_scale(&self) -> LossScale {
        if self.scales_loss() { LossScale::INITIAL } else { LossScale::ONE }
    }

    /// Whether running averages of the weights are kept.
    pub fn averages(&self) -> bool {
        self.optimizer.as_ref().is_some_and(|optimizer| optimizer.averages)
    }

    /// Names of the optimizer's state arrays.
    pub fn slots(&self) -> &'static [&'static str] {
        self.optimizer.as_ref().map_or(&[], |optimizer| optimizer.update.slots())
    }
}

/// A kind of pages: all pages of parameters, all pages of gradients, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageList {
    /// Trained tensors.
    Parameters,
    /// Their gradients, laid out alike.
    Gradients,
    /// The optimizer's n-th state array, laid out alike.
    Slot(usize),
    /// Running statistics.
    Statistics,
    /// This step's statistics, laid out alike.
    BatchStatistics,
    /// Sums of gradients over micro-batches.
    GradientSums,
    /// The same of statistics.
    StatisticSums,
    /// Running averages of the parameters, laid out alike.
    Ema,
    /// The same of statistics.
    EmaStatistics,
}

impl PageList {
    /// What running averages are kept of, and where they are.
    pub const AVERAGED: [[PageList; 2]; 2] =
        [[PageList::Parameters, PageList::Ema], [PageList::Statistics, PageList::EmaStatistics]];
}

/// A piece of memory that a session owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Memory {
    /// A reusable buffer of this plan.
    Temporary(usize),
    /// An input of the graph.
    Input(usize),
    /// The program's n-th resident, shared by all plans of the session.
    Resident(usize),
    /// A page shared by all plans of the session.
    Page(PageList, usize),
    /// A constant table of this plan.
    Table(usize),
    /// The words that steer updates and report the step ([`Control`]).
    Control,
}

/// A range of a piece of memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which memory.
    pub memory: Memory,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
}

/// One thing for the device to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Run a kernel.
    Dispatch {
        /// `conv1 conv2d.forward`.
        label: String,
        /// The dispatch with its buffers placed.
        dispatch: Dispatch<Place>,
    },
    /// Copy bytes.
    Copy {
        /// Source.
        from: Place,
        /// Destination.
        to: Place,
    },
}

/// A lowered graph.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to do, in order.
    pub commands: Vec<Command>,
    /// Bytes of each temporary buffer.
    pub temporaries: Vec<u64>,
    /// Content of each constant table.
    pub tables: Vec<Vec<f32>>,
    /// The graph's inputs, by name; `Memory::Input(i)` is the i-th.
    pub inputs: IndexMap<String, TensorDesc>,
    /// The graph's outputs, by name.
    pub outputs: IndexMap<String, (Place, TensorDesc)>,
    /// Whether the plan ends with an update of the parameters.
    pub updates: bool,
    /// The first command that is for the last micro-batch of a step only.
    pub update_from: usize,
    /// Choices among configurations of kernels, each with its node's index in the graph.
    pub choices: Vec<(usize, Choice)>,
}

/// Words of the control buffer, written by the optimizer's first workgroup and read by the update of the statistics.
///
/// Once `HALTED` is not zero no update changes anything.
pub struct Control;

impl Control {
    /// 1 after a loss or gradient norm that was not finite.
    pub const HALTED: usize = 0;
    /// Factor on the gradients from clipping.
    pub const CLIP: usize = 1;
    /// Loss of the step.
    pub const LOSS: usize = 2;
    /// Correct predictions in the step's batch.
    pub const CORRECT: usize = 3;
    /// Norm of all gradients before clipping.
    pub const GRAD_NORM: usize = 4;
    /// The loss scale of the next step; 1 where nothing is scaled.
    pub const LOSS_SCALE: usize = 5;
    /// Steps since the loss scale last changed.
    pub const GOOD_STEPS: usize = 6;
    /// 1 after a step whose update was left out, by a halt or because f16 overflowed.
    pub const SKIPPED: usize = 7;
    /// The weight of the micro-batch, and the sums over the step's micro-batches of weights, losses and correct
    /// predictions.
    pub const ACCUMULATED: [usize; 4] = [8, 9, 10, 11];
    /// Length of the buffer, in 4-byte words.
    pub const WORDS: usize = 12;

    /// The words before a step.
    pub fn initial(loss_scale: LossScale) -> [f32; Control::WORDS] {
        let mut words = [0.0; Control::WORDS];
        words[Control::LOSS_SCALE] = loss_scale.scale;
        words[Control::GOOD_STEPS] = loss_scale.good_steps as f32;
        words
    }
}

/// What a training step reports.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepReport {
    /// The step, from 1.
    pub step: u64,
    /// Loss before the update.
    pub loss: f32,
    /// Correct predictions in the batch, if the graph has an output `correct`.
    pub correct: f32,
    /// Norm of all gradients before clipping, without the loss scale; not finite if f16 overflowed.
    pub grad_norm: f32,
    /// Whether this step's update, and all later ones, were left out.
    pub halted: bool,
    /// The scale of the next step's gradients.
    pub loss_scale: LossScale,
}

impl StepReport {
    /// Reads the control buffer's words.
    pub fn from_control(step: u64, words: &[f32]) -> StepReport {
        StepReport {
            step,
            loss: words[Control::LOSS],
            correct: words[Control::CORRECT],
            grad_norm: words[Control::GRAD_NORM],
            halted: words[Control::HALTED] != 0.0,
            loss_scale: LossScale {
                scale: words[Control::LOSS_SCALE],
                good_steps: words[Control::GOOD_STEPS] as u32,
            },
        }
    }
}

impl Plan {
    /// Lowers one graph of a program for a device.
    pub fn lower(program: &Program, graph: &Graph, capabilities: &Capabilities) -> Result<Plan> {
        lowering::lower(program, graph, capabilities)
    }

    /// Bytes of the temporary buffers together.
    pub fn temporary_bytes(&self) -> u64 {
        self.temporaries.iter().sum()
    }
}

/// A finished run of a graph.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Which of the program's graphs.
    pub graph: usize,
    /// The report, if the run was a training step.
    pub report: Option<StepReport>,
    /// The graph's outputs by name, in physical order, if it was not.
    pub outputs: HashMap<String, Vec<f32>>,
}
