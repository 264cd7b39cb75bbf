use std::time::Instant;

use super::session::{Element, Session};
use crate::graph::{Graph, Node, NodeKind, Step, TensorDesc};
use crate::plan::{Data, KernelTime, Program};

/// Notes the time of each node of a run.
#[derive(Debug)]
pub(super) struct Recorder {
    start: Instant,
    kernels: Vec<KernelTime>,
}

impl<T: Element> Session<T> {
    /// Runs a graph once and gives the time of each node, in order, and of the update at the end.
    pub fn profile(&mut self, graph: usize, inputs: &[(&str, Data<'_, T>)], step: &Step) -> Vec<KernelTime> {
        self.recorder = Some(Recorder { start: Instant::now(), kernels: vec![] });
        self.run(graph, inputs, step);
        self.recorder.take().map_or(vec![], |recorder| recorder.kernels)
    }
}

impl Recorder {
    /// Notes a node that began at this time and has just been evaluated.
    pub(super) fn node(&mut self, graph: &Graph, node: &Node, began: Instant) {
        let NodeKind::Op(op) = &node.kind else { return };
        let inputs: Vec<TensorDesc> = node.inputs.iter().map(|value| graph.desc(*value).clone()).collect();
        let label = node.label();
        let bytes = inputs.iter().chain(&node.outputs).map(TensorDesc::bytes).sum::<usize>();
        let kernel = format!("{}.{}", op.name(), op.pass());
        self.note(label, kernel, (op.flops(&inputs, &node.outputs), bytes as u64), began);
    }

    /// Notes the end of a training step: the norm of the gradients and the optimizer, which began at this time.
    pub(super) fn update(&mut self, program: &Program, graph: &Graph, began: Instant) {
        let trains = program.optimizer.as_ref().filter(|_| !graph.gradients().is_empty());
        let Some(optimizer) = trains else { return };
        let kernel = format!("{}.update", optimizer.update.name());
        // Gradients are read twice; parameters and slots are changed in place.
        let passes = 4 + 2 * program.slots().len() as u64;
        let bytes = passes * program.pages.parameters.bytes();
        self.note(format!("parameters {kernel}"), kernel, (0, bytes), began);
    }

    fn note(&mut self, label: String, kernel: String, (flops, bytes): (u64, u64), began: Instant) {
        let seconds = began.elapsed().as_secs_f64();
        let began = began.duration_since(self.start).as_secs_f64();
        self.kernels.push(KernelTime { label, kernel, flops, bytes, began, seconds });
    }
}
