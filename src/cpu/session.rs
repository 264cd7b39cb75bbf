use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;

use super::Threads;
use super::profile::Recorder;
use crate::graph::{
    Context, Graph, Node, NodeKind, Op, ParameterGroup, Real, Step, TensorDesc, UpdatePage, Value, View,
    ViewMut,
};
use crate::plan::{Data, Liveness, PageList, Program, Resident, StepReport};
use crate::tensor::DType;

/// Runs the graphs of a program on the host; `T` is f32, or f64 as the reference.
pub struct Session<T: Element> {
    program: Arc<Program>,
    liveness: Vec<Liveness>,
    pages: HashMap<PageList, Vec<Vec<T>>>,
    values: HashMap<Value, Buffer<T>>,
    outputs: HashMap<String, Vec<T>>,
    residents: HashMap<String, Resident<T>>,
    pool: Vec<Buffer<T>>,
    threads: Threads<T>,
    halted: bool,
    poison: bool,
    pub(super) recorder: Option<Recorder>,
}

/// A [`Real`] that knows which of an operator's kernels it is for.
pub trait Element: Real + Default {
    /// Calls the operator's kernel for this type.
    fn eval(
        op: &dyn Op,
        context: &Context<'_, Self>,
        inputs: &[View<'_, Self>],
        outputs: &mut [ViewMut<'_, Self>],
    );
    /// Rounds what a GPU stores as f16; the f64 reference does not.
    fn round_to_half(values: &mut [Self]);
    /// Calls the optimizer's rule for this type.
    fn update(update: &dyn crate::graph::Update, page: UpdatePage<'_, Self>);
}

impl Element for f32 {
    fn eval(
        op: &dyn Op,
        context: &Context<'_, f32>,
        inputs: &[View<'_, f32>],
        outputs: &mut [ViewMut<'_, f32>],
    ) {
        op.eval_f32(context, inputs, outputs);
    }
    fn round_to_half(values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value = half::f16::from_f32(*value).to_f32());
    }
    fn update(update: &dyn crate::graph::Update, page: UpdatePage<'_, f32>) {
        update.update_f32(page);
    }
}

impl Element for f64 {
    fn eval(
        op: &dyn Op,
        context: &Context<'_, f64>,
        inputs: &[View<'_, f64>],
        outputs: &mut [ViewMut<'_, f64>],
    ) {
        op.eval_f64(context, inputs, outputs);
    }
    fn round_to_half(_: &mut [f64]) {}
    fn update(update: &dyn crate::graph::Update, page: UpdatePage<'_, f64>) {
        update.update_f64(page);
    }
}

/// Memory of one value: floats, class indices or bytes.
#[derive(Debug, Default)]
struct Buffer<T> {
    real: Vec<T>,
    int: Vec<i32>,
    bytes: Vec<u8>,
}

impl<T: Element> Session<T> {
    /// A session with zeroed pages.
    pub fn new(program: Arc<Program>) -> Session<T> {
        let (parameters, statistics) = (&program.pages.parameters, &program.pages.statistics);
        let mut pages = HashMap::from([
            (PageList::Parameters, parameters.zeroed()),
            (PageList::Gradients, parameters.zeroed()),
            (PageList::Statistics, statistics.zeroed()),
            (PageList::BatchStatistics, statistics.zeroed()),
        ]);
        pages.extend((0..program.slots().len()).map(|slot| (PageList::Slot(slot), parameters.zeroed())));
        Session {
            liveness: program.graphs.iter().map(Liveness::of).collect(),
            program,
            pages,
            values: HashMap::new(),
            outputs: HashMap::new(),
            residents: HashMap::new(),
            pool: vec![],
            threads: Threads::default(),
            halted: false,
            poison: false,
            recorder: None,
        }
    }

    /// The same, filling memory with NaN before kernels write it: reading what nothing wrote is loud.
    pub fn poisoned(mut self) -> Session<T> {
        self.poison = true;
        self
    }

    /// The pages of a list.
    pub fn pages(&self, list: PageList) -> &[Vec<T>] {
        self.pages.get(&list).map_or(&[], Vec::as_slice)
    }

    /// The pages of a list, to be overwritten.
    pub fn pages_mut(&mut self, list: PageList) -> &mut [Vec<T>] {
        self.pages.get_mut(&list).map_or(&mut [], Vec::as_mut_slice)
    }

    /// Keeps data for the graphs that name it, until it is replaced. Its length must be the program's.
    pub fn write_resident(&mut self, name: &str, data: Resident<T>) {
        self.residents.insert(name.to_string(), data);
    }

    /// An output of the last run, in its physical order.
    pub fn output(&self, name: &str) -> Option<&[T]> {
        self.outputs.get(name).map(Vec::as_slice)
    }

    /// Runs the program's `graph`-th graph. If it has gradients and the program an optimizer, updates the parameters.
    pub fn run(&mut self, graph: usize, inputs: &[(&str, Data<'_, T>)], step: &Step) -> StepReport {
        let program = self.program.clone();
        let graph_index = graph;
        let graph = &program.graphs[graph];
        for index in 0..graph.nodes().len() {
            if self.liveness[graph_index].needed[index] {
                let began = Instant::now();
                self.evaluate(graph, index, inputs, step);
                if let Some(recorder) = &mut self.recorder {
                    recorder.node(graph, &graph.nodes()[index], began);
                }
                self.bury(graph_index, index);
            }
        }
        let began = Instant::now();
        let report = self.finish(&program, graph, step);
        if let Some(recorder) = &mut self.recorder {
            recorder.update(&program, graph, began);
        }
        self.pool.extend(self.values.drain().map(|(_, buffer)| buffer));
        report
    }

    fn evaluate(&mut self, graph: &Graph, index: usize, inputs: &[(&str, Data<'_, T>)], step: &Step) {
        let node = &graph.nodes()[index];
        match &node.kind {
            NodeKind::Input => {
                let data = inputs.iter().find(|(name, _)| *name == node.name).map(|(_, data)| *data);
                let data = data.unwrap_or_else(|| panic!("no data for the input {}", node.name));
                let mut buffer = self.take(&node.outputs[0]);
                match data {
                    Data::Real(values) => buffer.real.copy_from_slice(values),
                    Data::Int(values) => buffer.int.copy_from_slice(values),
                    Data::Bytes(values) => buffer.bytes.copy_from_slice(values),
                }
                self.values.insert(Value { node: index, output: 0 }, buffer);
            }
            NodeKind::Op(op) => {
                let mut made: Vec<Buffer<T>> = node.outputs.iter().map(|desc| self.take(desc)).collect();
                self.call(graph, node, op.as_ref(), &mut made, step);
                let made = made.into_iter().enumerate();
                self.values.extend(made.map(|(output, buffer)| (Value { node: index, output }, buffer)));
            }
            NodeKind::Parameter(_) | NodeKind::Statistic(_) | NodeKind::Resident => {}
        }
    }

    fn call(&self, graph: &Graph, node: &Node, op: &dyn Op, made: &mut [Buffer<T>], step: &Step) {
        let inputs: Vec<View<'_, T>> = node.inputs.iter().map(|value| self.view(graph, *value)).collect();
        let outputs = node.outputs.iter().zip(made);
        let mut outputs: Vec<ViewMut<'_, T>> = outputs
            .map(|(desc, buffer)| ViewMut { desc, real: &mut buffer.real, int: &mut buffer.int })
            .collect();
        let context = Context { host: &self.threads, step, name: &node.name };
        T::eval(op, &context, &inputs, &mut outputs);
        for output in outputs.iter_mut().filter(|output| output.desc.dtype == DType::F16) {
            T::round_to_half(output.real);
        }
    }

    fn view<'a>(&'a self, graph: &'a Graph, value: Value) -> View<'a, T> {
        let desc = graph.desc(value);
        let list = match graph.nodes()[value.node].kind {
            NodeKind::Parameter(_) => PageList::Parameters,
            NodeKind::Statistic(_) => PageList::Statistics,
            NodeKind::Resident => {
                let name = &graph.nodes()[value.node].name;
                let resident = self.residents.get(name);
                let resident = resident.unwrap_or_else(|| panic!("{name} was not written before a run"));
                let empty = View { desc, real: &[], int: &[], bytes: &[] };
                return match resident.data() {
                    Data::Real(real) => View { real, ..empty },
                    Data::Int(int) => View { int, ..empty },
                    Data::Bytes(bytes) => View { bytes, ..empty },
                };
            }
            _ => {
                let Buffer { real, int, bytes } = &self.values[&value];
                return View { desc, real, int, bytes };
            }
        };
        let span = self.program.pages.span(graph, value);
        View {
            desc,
            real: &self.pages[&list][span.page][span.offset..span.offset + span.len],
            int: &[],
            bytes: &[],
        }
    }

    fn bury(&mut self, graph: usize, index: usize) {
        for value in &self.liveness[graph].dies_after[index] {
            self.pool.extend(self.values.remove(value));
        }
    }

    /// Memory for one value: the smallest pooled buffer that is large enough.
    fn take(&mut self, desc: &TensorDesc) -> Buffer<T> {
        let count = desc.numel();
        let fitting = self.pool.iter().enumerate().filter(|(_, buffer)| match desc.dtype {
            DType::F32 | DType::F16 => buffer.real.capacity() >= count,
            DType::I32 => buffer.int.capacity() >= count,
            DType::U8 => buffer.bytes.capacity() >= count,
        });
        let best = fitting.min_by_key(|(_, buffer)| buffer.real.capacity()).map(|(index, _)| index);
        let mut buffer = best.map(|index| self.pool.swap_remove(index)).unwrap_or_default();
        match desc.dtype {
            DType::F32 | DType::F16 => {
                buffer.real.resize(count, T::zero());
                buffer.int.clear();
                buffer.bytes.clear();
            }
            DType::I32 => {
                buffer.int.resize(count, 0);
                buffer.real.clear();
                buffer.bytes.clear();
            }
            DType::U8 => {
                buffer.bytes.resize(count, 0);
                buffer.real.clear();
                buffer.int.clear();
            }
        }
        if self.poison {
            buffer.real.fill(T::nan());
        }
        buffer
    }

    fn finish(&mut self, program: &Program, graph: &Graph, step: &Step) -> StepReport {
        self.outputs.clear();
        for (name, value) in graph.outputs() {
            self.outputs.insert(name.clone(), self.view(graph, *value).real.to_vec());
        }
        for (parameter, gradient) in graph.gradients() {
            self.keep(graph, *parameter, *gradient, PageList::Gradients);
        }
        for update in graph.statistic_updates() {
            self.keep(graph, update.running, update.batch, PageList::BatchStatistics);
        }
        let scalar = |name: &str| self.outputs.get(name).map_or(0.0, |values| values[0].f64() as f32);
        let mut report = StepReport {
            step: u64::from(step.step) + 1,
            loss: scalar("loss"),
            correct: scalar("correct"),
            grad_norm: 0.0,
            halted: self.halted,
        };
        if program.optimizer.is_some() && !graph.gradients().is_empty() {
            let norm = self.gradient_norm();
            report.grad_norm = norm.f64() as f32;
            self.halted |= !(report.loss.is_finite() && norm.is_finite());
            report.halted = self.halted;
            if !self.halted {
                self.update_parameters(program, norm, step);
                self.update_statistics(program, graph);
            }
        }
        report
    }

    fn keep(&mut self, graph: &Graph, stored: Value, value: Value, list: PageList) {
        let span = self.program.pages.span(graph, stored);
        let mut page = std::mem::take(&mut self.pages.get_mut(&list).expect("all lists exist")[span.page]);
        page[span.offset..span.offset + span.len].copy_from_slice(self.view(graph, value).real);
        self.pages.get_mut(&list).expect("all lists exist")[span.page] = page;
    }

    /// The norm over all gradients, in blocks of fixed size, so that it does not depend on the number of threads.
    fn gradient_norm(&self) -> T {
        let pages = self.pages(PageList::Gradients);
        let square = |values: &[T]| values.iter().map(|x| *x * *x).sum::<T>();
        let sums: Vec<T> =
            pages.iter().flat_map(|page| page.par_chunks(4096).map(square).collect::<Vec<T>>()).collect();
        sums.into_iter().sum::<T>().sqrt()
    }

    fn update_parameters(&mut self, program: &Program, norm: T, step: &Step) {
        let Some(optimizer) = &program.optimizer else { return };
        let clip_norm = T::of(f64::from(step.clip_norm));
        let clip = clip_norm / (norm + T::of(1e-6));
        let clip = if step.clip_norm.is_finite() && clip < T::one() { clip } else { T::one() };
        let mut parameters =
            std::mem::take(self.pages.get_mut(&PageList::Parameters).expect("all lists exist"));
        let mut slots: Vec<Vec<Vec<T>>> = (0..program.slots().len())
            .map(|slot| self.pages.remove(&PageList::Slot(slot)).unwrap_or_default())
            .collect();
        let gradients = &self.pages[&PageList::Gradients];
        let tensors = program.pages.parameters.tensors().iter().zip(&optimizer.groups);
        for ((_, _, span), &group) in tensors {
            let range = span.offset..span.offset + span.len;
            let slots = slots.iter_mut().map(|pages| &mut pages[span.page][range.clone()]).collect();
            let update = |page: UpdatePage<'_, T>| T::update(optimizer.update.as_ref(), page);
            let pieces = Pieces { gradients: &gradients[span.page][range.clone()], group, clip, step };
            pieces.for_each(&mut parameters[span.page][range.clone()], slots, &update);
        }
        for (slot, pages) in slots.into_iter().enumerate() {
            self.pages.insert(PageList::Slot(slot), pages);
        }
        self.pages.insert(PageList::Parameters, parameters);
    }

    fn update_statistics(&mut self, program: &Program, graph: &Graph) {
        let batch = std::mem::take(self.pages.get_mut(&PageList::BatchStatistics).expect("all lists exist"));
        let running = self.pages_mut(PageList::Statistics);
        for update in graph.statistic_updates() {
            let span = program.pages.span(graph, update.running);
            let momentum = T::of(f64::from(update.momentum));
            let range = span.offset..span.offset + span.len;
            let pairs = running[span.page][range.clone()].iter_mut().zip(&batch[span.page][range]);
            pairs.for_each(|(running, batch)| *running += momentum * (*batch - *running));
        }
        self.pages.insert(PageList::BatchStatistics, batch);
    }
}

/// One parameter's update, cut into pieces for the threads.
struct Pieces<'a, T> {
    gradients: &'a [T],
    group: ParameterGroup,
    clip: T,
    step: &'a Step,
}

impl<T: Element> Pieces<'_, T> {
    fn for_each(
        &self,
        parameters: &mut [T],
        slots: Vec<&mut [T]>,
        update: &(dyn Fn(UpdatePage<'_, T>) + Sync),
    ) {
        const PIECE: usize = 65_536;
        if parameters.len() <= PIECE {
            let Pieces { gradients, group, clip, step } = *self;
            return update(UpdatePage { parameters, gradients, slots, group, clip, step });
        }
        let middle = (parameters.len() / 2).next_multiple_of(64);
        let (left, right) = parameters.split_at_mut(middle);
        let (left_slots, right_slots) = slots.into_iter().map(|slot| slot.split_at_mut(middle)).unzip();
        let (left_gradients, right_gradients) = self.gradients.split_at(middle);
        rayon::join(
            || Pieces { gradients: left_gradients, ..*self }.for_each(left, left_slots, update),
            || Pieces { gradients: right_gradients, ..*self }.for_each(right, right_slots, update),
        );
    }
}
