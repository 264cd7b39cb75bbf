//! What a session allocates on a device, known before anything is allocated.

use serde::Serialize;

use super::{BINDING_UNIT, Command, Control, PageList, PageSet, Plan, Program};
use crate::graph::Step;

/// Bytes of a dispatch's uniform block with its alignment: what WebGPU asks at most.
pub const UNIFORM_SLOT: u64 = 256;

/// Runs of a graph that can be on their way at once without further buffers for what goes up and what is read back.
pub const RUNS_IN_FLIGHT: usize = 3;

/// Bytes of all buffers of a session, by what they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryUse {
    /// Trained tensors, and running averages of weights and statistics.
    pub parameters: u64,
    /// Their gradients, and the sums of these over micro-batches.
    pub gradients: u64,
    /// The optimizer's state.
    pub optimizer: u64,
    /// Running statistics and those of the batch.
    pub statistics: u64,
    /// Values between operators: temporary buffers that all graphs share.
    pub activations: u64,
    /// Inputs of the graphs, and data that stays on the device.
    pub data: u64,
    /// Uniforms, constant tables, control words, what goes up and what is read back.
    pub other: u64,
}

impl MemoryUse {
    /// Of a program whose graphs have been lowered.
    pub fn of(program: &Program, plans: &[Plan]) -> MemoryUse {
        let mut memory = MemoryUse::default();
        for (list, set) in page_lists(program) {
            let bytes = set.bytes();
            match list {
                PageList::Parameters | PageList::Ema | PageList::EmaStatistics => memory.parameters += bytes,
                PageList::Gradients | PageList::GradientSums => memory.gradients += bytes,
                PageList::Slot(_) => memory.optimizer += bytes,
                PageList::Statistics | PageList::BatchStatistics | PageList::StatisticSums => {
                    memory.statistics += bytes;
                }
            }
        }
        memory.activations = shared_temporaries(plans).iter().sum();
        let inputs = plans.iter().flat_map(|plan| plan.inputs.values());
        let data = inputs.chain(program.residents.values()).map(|desc| buffer_bytes(desc.bytes() as u64));
        memory.data = data.sum();
        memory.other = Step::BYTES + buffer_bytes(Control::WORDS as u64 * 4);
        for plan in plans {
            let tables = plan.tables.iter().map(|table| buffer_bytes(table.len() as u64 * 4));
            memory.other += tables.sum::<u64>() + plan.uniform_bytes();
            memory.other += RUNS_IN_FLIGHT as u64 * (plan.result_bytes() + plan.upload_bytes());
        }
        memory
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        let MemoryUse { parameters, gradients, optimizer, statistics, activations, data, other } = self;
        parameters + gradients + optimizer + statistics + activations + data + other
    }
}

/// What a buffer takes for so many bytes.
pub fn buffer_bytes(bytes: u64) -> u64 {
    bytes.next_multiple_of(BINDING_UNIT).max(BINDING_UNIT)
}

/// The page lists that a program's graphs and its optimizer use.
pub fn page_lists(program: &Program) -> Vec<(PageList, &PageSet)> {
    let (parameters, statistics) = (&program.pages.parameters, &program.pages.statistics);
    let mut lists = vec![(PageList::Parameters, parameters), (PageList::Statistics, statistics)];
    if program.graphs.iter().any(|graph| !graph.gradients().is_empty()) {
        lists.push((PageList::Gradients, parameters));
    }
    if program.graphs.iter().any(|graph| !graph.statistic_updates().is_empty()) {
        lists.push((PageList::BatchStatistics, statistics));
    }
    if program.micro_batches > 1 && program.optimizer.is_some() {
        lists.extend([(PageList::GradientSums, parameters), (PageList::StatisticSums, statistics)]);
    }
    if program.averages() {
        lists.extend([(PageList::Ema, parameters), (PageList::EmaStatistics, statistics)]);
    }
    lists.extend((0..program.slots().len()).map(|slot| (PageList::Slot(slot), parameters)));
    lists
}

/// Sizes of temporary buffers that serve all plans, which never run at once: the n-th is as large as any plan's n-th.
pub fn shared_temporaries(plans: &[Plan]) -> Vec<u64> {
    let count = plans.iter().map(|plan| plan.temporaries.len()).max().unwrap_or(0);
    let largest = |index: usize| {
        let sizes = plans.iter().filter_map(|plan| plan.temporaries.get(index));
        buffer_bytes(sizes.copied().max().unwrap_or(0))
    };
    (0..count).map(largest).collect()
}

impl Plan {
    /// Bytes of the uniform blocks of all dispatches.
    pub fn uniform_bytes(&self) -> u64 {
        let dispatches = self.commands.iter().filter(|command| matches!(command, Command::Dispatch { .. }));
        UNIFORM_SLOT * dispatches.count().max(1) as u64
    }

    /// Bytes that go up for a run: all inputs and the step's numbers.
    pub fn upload_bytes(&self) -> u64 {
        Step::BYTES + self.inputs.values().map(|desc| desc.bytes() as u64).sum::<u64>()
    }

    /// Bytes that are read back after a run.
    pub fn result_bytes(&self) -> u64 {
        let outputs = self.outputs.values().map(|(place, _)| place.bytes);
        if self.updates { Control::WORDS as u64 * 4 } else { outputs.sum::<u64>().max(4) }
    }
}
