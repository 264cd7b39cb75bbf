//! Steps in micro-batches: a batch that does not fit is run piece by piece, its gradients are added up, and one update
//! follows. The mathematics is that of the whole batch, but for batch norm, whose statistics are each micro-batch's.

use super::pages::ALIGN;
use super::update::{CONTROL, push, read, spread, table, whole, write};
use super::{Data, Memory, PageList, Place, Plan, Program};
use crate::graph::{Binding, Dispatch, Graph, NodeKind, Scalar, Step, TensorDesc, Variant};

impl Program {
    /// The same program, its training graph made for one of `count` equal parts of a batch.
    pub fn in_micro_batches(mut self, count: usize) -> Program {
        self.micro_batches = count.max(1);
        self
    }

    /// Whether runs of a graph are training steps.
    pub fn trains(&self, graph: usize) -> bool {
        self.optimizer.is_some() && !self.graphs[graph].gradients().is_empty()
    }

    /// In how many parts a run of a graph is done.
    pub fn micro_batches(&self, graph: usize) -> usize {
        if self.trains(graph) { self.micro_batches } else { 1 }
    }

    /// The step of one micro-batch of a step.
    pub fn micro_step(&self, graph: usize, step: &Step, index: usize) -> Step {
        let mut inputs =
            self.graphs[graph].nodes().iter().filter(|node| matches!(node.kind, NodeKind::Input));
        let samples = inputs.next().and_then(|node| node.outputs[0].shape.first().copied()).unwrap_or(0);
        Step {
            sample_base: step.sample_base + (index * samples) as u32,
            micro_batch: index as u32,
            micro_batches: self.micro_batches(graph) as u32,
            ..*step
        }
    }

    /// What an input of a graph takes for a whole run: all micro-batches, one after another.
    pub(super) fn whole_input(&self, graph: usize, desc: &TensorDesc) -> TensorDesc {
        let mut shape = desc.shape.to_vec();
        if let Some(samples) = shape.first_mut() {
            *samples *= self.micro_batches(graph);
        }
        TensorDesc { shape: shape.into(), dtype: desc.dtype }
    }

    /// The momentum with which a running statistic takes in what all micro-batches of a step have found together.
    pub fn step_momentum(&self, momentum: f32) -> f32 {
        match self.micro_batches {
            1 => momentum,
            count => (1.0 - (1.0 - f64::from(momentum)).powi(count as i32)) as f32,
        }
    }
}

impl<'a, T> Data<'a, T> {
    /// The `index`-th of `count` equal parts.
    pub fn part(&self, index: usize, count: usize) -> Data<'a, T> {
        let range = |len: usize| index * (len / count)..(index + 1) * (len / count);
        match *self {
            Data::Real(values) => Data::Real(&values[range(values.len())]),
            Data::Int(values) => Data::Int(&values[range(values.len())]),
            Data::Bytes(values) => Data::Bytes(&values[range(values.len())]),
        }
    }
}

/// Inputs of the `index`-th of `count` micro-batches.
pub fn micro_inputs<'a, T>(
    inputs: &[(&'a str, Data<'a, T>)],
    index: usize,
    count: usize,
) -> Vec<(&'a str, Data<'a, T>)> {
    inputs.iter().map(|(name, data)| (*name, data.part(index, count))).collect()
}

/// Appends the sums over micro-batches to a plan whose gradients and statistics are in their pages. After the last
/// micro-batch gradients, statistics, loss and correct predictions are the whole batch's, and the update may follow.
pub(super) fn append(program: &Program, graph: &Graph, plan: &mut Plan) {
    append_totals(plan);
    let parameters = program.pages.parameters.page_lens();
    for (page, &len) in parameters.iter().enumerate() {
        let bindings = vec![
            write("gradients_of_batch", whole(PageList::Gradients, page, len)),
            write("sums", whole(PageList::GradientSums, page, len)),
            read("totals_so_far", CONTROL),
        ];
        append_sums(plan, "gradients", len, bindings);
    }
    if graph.statistic_updates().is_empty() {
        return;
    }
    for (page, &len) in program.pages.statistics.page_lens().iter().enumerate() {
        let mut momenta = vec![0.0; 2 * len / ALIGN];
        for update in graph.statistic_updates() {
            let span = program.pages.span(graph, update.running);
            let blocks = span.offset / ALIGN..(span.offset + span.len).div_ceil(ALIGN);
            for block in blocks.filter(|_| span.page == page) {
                momenta[2 * block] = update.momentum;
                momenta[2 * block + 1] = program.step_momentum(update.momentum);
            }
        }
        let bindings = vec![
            write("statistics_of_batch", whole(PageList::BatchStatistics, page, len)),
            write("sums", whole(PageList::StatisticSums, page, len)),
            read("momenta", table(plan, momenta)),
        ];
        append_sums(plan, "statistics", len, bindings);
    }
}

fn append_totals(plan: &mut Plan) {
    let output = |name: &str| plan.outputs.get(name).map(|(place, _)| *place);
    let loss = output("loss").expect("a training graph has the output loss: train::program names it");
    let (weight, correct) = (output("weight"), output("correct"));
    // Micro-batches without a weight count alike.
    let weight = weight.unwrap_or_else(|| table(plan, vec![1.0]));
    let correct = correct.unwrap_or_else(|| {
        plan.temporaries.push(4);
        Place { memory: Memory::Temporary(plan.temporaries.len() - 1), offset: 0, bytes: 4 }
    });
    let bindings = vec![
        write("loss", loss),
        write("correct", correct),
        read("weight", weight),
        write("control", CONTROL),
    ];
    push(plan, "step accumulate.totals", dispatch("totals", bindings, vec![], 1));
}

fn append_sums(plan: &mut Plan, entry: &'static str, len: usize, bindings: Vec<Binding<Place>>) {
    let label = format!("{entry} accumulate.{entry}");
    push(plan, &label, dispatch(entry, bindings, vec![("count", len.into())], len.div_ceil(64)));
}

fn dispatch(
    entry: &'static str,
    bindings: Vec<Binding<Place>>,
    uniforms: Vec<(&'static str, Scalar)>,
    groups: usize,
) -> Dispatch<Place> {
    let workgroups = spread(groups);
    Dispatch {
        shader: "accumulate",
        entry,
        variant: Variant::default(),
        bindings,
        uniforms,
        workgroups,
        flops: 0,
    }
}
