use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::Threads;
use super::accumulate::Sums;
use super::gemm::Multiply;
use super::places::{Memory, Place, Places};
use super::profile::Recorder;
use super::update::written;
use crate::graph::{
    Context, Graph, LossScale, NodeKind, Op, Step, TensorDesc, UpdatePage, Value, View, ViewMut,
};
use crate::plan::{Data, Liveness, PageList, Program, Resident, Span, Stage, StepReport, micro_inputs};
use crate::tensor::DType;

/// Runs the graphs of a program on the host; `T` is f32, or f64 as the reference.
pub struct Session<T: Element> {
    program: Arc<Program>,
    liveness: Vec<Liveness>,
    places: Vec<Places>,
    pages: HashMap<PageList, Vec<Vec<T>>>,
    reals: Vec<Vec<T>>,
    ints: Vec<Vec<i32>>,
    pub(super) outputs: HashMap<String, Vec<T>>,
    pub(super) sums: Sums<T>,
    residents: HashMap<String, Resident<T>>,
    threads: Threads<T>,
    halted: bool,
    loss_scale: LossScale,
    poison: bool,
    pub(super) recorder: Option<Recorder>,
}

/// A [`crate::graph::Real`] that knows which of an operator's kernels it is for.
pub trait Element: Multiply + Default {
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

impl<T: Element> Session<T> {
    /// A session with zeroed pages.
    ///
    /// # Panics
    /// If a weight lies in parts, because the program was made with a `max_page_bytes` that it exceeds.
    pub fn new(program: Arc<Program>) -> Session<T> {
        let (parameters, statistics) = (&program.pages.parameters, &program.pages.statistics);
        let mut tensors = parameters.tensors().iter();
        let parted = tensors.find(|(_, _, spans)| spans.len() > 1).map(|(name, ..)| name);
        assert!(parted.is_none(), "{parted:?} lies in parts; make programs for the host with u64::MAX");
        let mut pages = HashMap::from([
            (PageList::Parameters, parameters.zeroed()),
            (PageList::Gradients, parameters.zeroed()),
            (PageList::Statistics, statistics.zeroed()),
            (PageList::BatchStatistics, statistics.zeroed()),
        ]);
        if program.averages() {
            pages.insert(PageList::Ema, parameters.zeroed());
            pages.insert(PageList::EmaStatistics, statistics.zeroed());
        }
        let slots = (0..program.slots().len()).map(|slot| (PageList::Slot(slot), parameters.zeroed()));
        pages.extend(slots.map(|(list, pages)| (list, written(pages))));
        let graphs = || program.graphs.iter().chain(program.stages.graphs());
        let liveness: Vec<Liveness> = graphs().map(Liveness::of).collect();
        let graphs = graphs().zip(&liveness);
        let places = graphs.map(|(graph, liveness)| Places::of(&program, graph, liveness)).collect();
        let loss_scale = program.initial_loss_scale();
        Session {
            liveness,
            places,
            program,
            pages,
            reals: vec![],
            ints: vec![],
            outputs: HashMap::new(),
            sums: Sums::default(),
            residents: HashMap::new(),
            threads: Threads::default(),
            halted: false,
            loss_scale,
            poison: false,
            recorder: None,
        }
    }

    /// The same, filling memory with NaN before kernels write it: reading what nothing wrote is loud.
    pub fn poisoned(mut self) -> Session<T> {
        self.poison = true;
        self
    }

    /// Sets the scale of the next step's gradients.
    pub fn set_loss_scale(&mut self, loss_scale: LossScale) {
        self.loss_scale = loss_scale;
    }

    /// The pages of a list.
    pub fn pages(&self, list: PageList) -> &[Vec<T>] {
        self.pages.get(&list).map_or(&[], Vec::as_slice)
    }

    /// The pages of a list, to be overwritten.
    pub fn pages_mut(&mut self, list: PageList) -> &mut [Vec<T>] {
        self.pages.get_mut(&list).map_or(&mut [], Vec::as_mut_slice)
    }

    /// Exchanges two lists of pages that are laid out alike.
    pub fn swap_pages(&mut self, [a, b]: [PageList; 2]) {
        let pages = std::mem::take(self.list_mut(a));
        let pages = std::mem::replace(self.list_mut(b), pages);
        *self.list_mut(a) = pages;
    }

    /// Keeps data for the graphs that name it, until it is replaced. Its length must be the program's.
    pub fn write_resident(&mut self, name: &str, data: Resident<T>) {
        self.residents.insert(name.to_string(), data);
    }

    /// An output of the last run, in its physical order: images are `N, H, W, C`.
    pub fn output(&self, name: &str) -> Option<&[T]> {
        self.outputs.get(name).map(Vec::as_slice)
    }

    /// Runs the program's `graph`-th graph. If it has gradients and the program an optimizer, updates the parameters.
    ///
    /// # Panics
    /// If the inputs are not the graph's, by name, type and number of elements: [`Program::check_inputs`] tells before, and
    /// [`crate::train::Session`] asks it.
    pub fn run(&mut self, graph: usize, inputs: &[(&str, Data<'_, T>)], step: &Step) -> StepReport {
        let program = self.program.clone();
        let count = program.micro_batches(graph);
        if count > 1 && step.micro_batches == 0 {
            let mut report = StepReport::default();
            for index in 0..count {
                let step = program.micro_step(graph, step, index);
                report = self.run(graph, &micro_inputs(inputs, index, count), &step);
            }
            return report;
        }
        let loss_scale = self.loss_scale.scale;
        let run = Run { index: graph, graph: &program.graphs[graph], inputs, step, loss_scale };
        self.compute(&run);
        let began = Instant::now();
        let report = self.finish(&program, &run);
        if let Some(recorder) = &mut self.recorder {
            recorder.update(&program, run.graph, began);
        }
        report
    }

    /// Computes all nodes of a graph.
    fn compute(&mut self, run: &Run<'_, T>) {
        self.allocate(run.index);
        for (index, node) in run.graph.nodes().iter().enumerate() {
            if let (true, NodeKind::Op(op)) = (self.liveness[run.index].needed[index], &node.kind) {
                let began = Instant::now();
                self.evaluate(run, index, op.as_ref());
                if let Some(recorder) = &mut self.recorder {
                    recorder.node(run.graph, node, began);
                }
            }
        }
    }

    /// Makes the buffers of a graph, the first time that it runs.
    fn allocate(&mut self, graph: usize) {
        let places = &self.places[graph];
        grow(&mut self.reals, &places.reals, T::zero());
        grow(&mut self.ints, &places.ints, 0);
    }

    /// Computes one node. The memory of its outputs is taken out of the session meanwhile, so that they can be written
    /// while the inputs are read; no input lies in it.
    fn evaluate(&mut self, run: &Run<'_, T>, index: usize, op: &dyn Op) {
        let node = &run.graph.nodes()[index];
        let place = |output| self.places[run.index].get(Value { node: index, output });
        let places: Vec<Place> = (0..node.outputs.len()).filter_map(place).collect();
        let mut taken: Vec<Taken<T>> = vec![];
        for place in &places {
            if taken.iter().all(|taken| taken.memory != place.memory) {
                taken.push(self.take(place.memory));
            }
        }
        let inputs: Vec<View<'_, T>> = node.inputs.iter().map(|value| self.view(run, *value)).collect();
        let mut outputs = views(&node.outputs, &places, &mut taken);
        if self.poison {
            outputs.iter_mut().for_each(|output| output.real.fill(T::nan()));
        }
        let context =
            Context { host: &self.threads, step: run.step, name: &node.name, loss_scale: run.loss_scale };
        T::eval(op, &context, &inputs, &mut outputs);
        for output in outputs.iter_mut().filter(|output| output.desc.dtype == DType::F16) {
            T::round_to_half(output.real);
        }
        taken.into_iter().for_each(|taken| self.give_back(taken));
    }

    fn take(&mut self, memory: Memory) -> Taken<T> {
        let (real, int) = match memory {
            Memory::Real(buffer) => (std::mem::take(&mut self.reals[buffer]), vec![]),
            Memory::Int(buffer) => (vec![], std::mem::take(&mut self.ints[buffer])),
            Memory::Page(list, page) => (std::mem::take(&mut self.list_mut(list)[page]), vec![]),
        };
        Taken { memory, real, int }
    }

    fn give_back(&mut self, Taken { memory, real, int }: Taken<T>) {
        match memory {
            Memory::Real(buffer) => self.reals[buffer] = real,
            Memory::Int(buffer) => self.ints[buffer] = int,
            Memory::Page(list, page) => self.list_mut(list)[page] = real,
        }
    }

    fn view<'a>(&'a self, run: &Run<'a, T>, value: Value) -> View<'a, T> {
        let (node, desc) = (&run.graph.nodes()[value.node], run.graph.desc(value));
        let view = View { desc, real: &[], int: &[], bytes: &[] };
        let Some(Place { memory, offset, len }) = self.places[run.index].get(value) else {
            let resident = self.residents.get(&node.name).map(Resident::data);
            let given = run.inputs.iter().find(|(name, _)| *name == node.name).map(|(_, data)| *data);
            let data = if matches!(node.kind, NodeKind::Resident) { resident } else { given };
            return match data.unwrap_or_else(|| panic!("{} was not given before a run", node.label())) {
                Data::Real(real) => View { real, ..view },
                Data::Int(int) => View { int, ..view },
                Data::Bytes(bytes) => View { bytes, ..view },
            };
        };
        match memory {
            Memory::Real(buffer) => View { real: &self.reals[buffer][offset..offset + len], ..view },
            Memory::Int(buffer) => View { int: &self.ints[buffer][offset..offset + len], ..view },
            Memory::Page(list, page) => View { real: &self.pages(list)[page][offset..offset + len], ..view },
        }
    }

    /// All pages of a list.
    pub(super) fn list_mut(&mut self, list: PageList) -> &mut Vec<Vec<T>> {
        self.pages.get_mut(&list).expect("a session has all lists of its program")
    }

    fn finish(&mut self, program: &Program, run: &Run<'_, T>) -> StepReport {
        let (graph, step) = (run.graph, run.step);
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.retain(|name, _| graph.outputs().contains_key(name));
        for (name, value) in graph.outputs() {
            let output = outputs.entry(name.clone()).or_default();
            output.clear();
            output.extend_from_slice(self.view(run, *value).real);
        }
        self.outputs = outputs;
        self.copy_to_pages(run);
        if program.micro_batches(run.index) > 1 && !self.accumulate(program, graph, step) {
            return StepReport::default();
        }
        let scalar = |name: &str| self.outputs.get(name).map_or(0.0, |values| values[0].f64() as f32);
        let mut report = StepReport {
            step: u64::from(step.step) + 1,
            loss: scalar("loss"),
            correct: scalar("correct"),
            grad_norm: 0.0,
            halted: self.halted,
            loss_scale: self.loss_scale,
        };
        if program.optimizer.is_some() && !graph.gradients().is_empty() {
            let scale = T::of(f64::from(self.loss_scale.scale));
            let norm = self.gradient_norm() / scale;
            report.grad_norm = norm.f64() as f32;
            let skipped = self.settle(program.scales_loss(), report.loss.is_finite(), norm.is_finite());
            (report.halted, report.loss_scale) = (self.halted, self.loss_scale);
            if !skipped {
                self.update(program, run, [norm, scale]);
                self.update_statistics(program, graph);
                if program.averages() {
                    self.update_averages(step);
                }
            }
        }
        report
    }

    /// The optimizer's passes, and the graphs between them.
    fn update(&mut self, program: &Program, run: &Run<'_, T>, scales: [T; 2]) {
        let mut index = program.graphs.len();
        for stage in &program.stages.stages {
            match stage {
                Stage::Pass(pass) => self.update_parameters(program, scales, run.step, *pass),
                Stage::Graph(graph) => {
                    let run = Run { index, graph, inputs: &[], ..*run };
                    self.compute(&run);
                    self.copy_to_pages(&run);
                    index += 1;
                }
            }
        }
    }

    /// Copies what belongs in pages and could not be computed there.
    fn copy_to_pages(&mut self, run: &Run<'_, T>) {
        for copy in 0..self.places[run.index].copies.len() {
            let (value, list, Span { page, offset, len }) = self.places[run.index].copies[copy];
            let mut target = std::mem::take(&mut self.list_mut(list)[page]);
            match self.places[run.index].get(value) {
                Some(place) if place.memory == Memory::Page(list, page) => {
                    target.copy_within(place.offset..place.offset + len, offset);
                }
                _ => target[offset..offset + len].copy_from_slice(self.view(run, value).real),
            }
            self.list_mut(list)[page] = target;
        }
    }

    /// Whether the step's update is left out, because the run halts or because f16 overflowed. As
    /// `shaders/shared/update.wgsl`.
    fn settle(&mut self, scales_loss: bool, loss_is_finite: bool, norm_is_finite: bool) -> bool {
        let next = if scales_loss { self.loss_scale.after(!norm_is_finite) } else { self.loss_scale };
        let overflow = !norm_is_finite && scales_loss && next.scale >= LossScale::SMALLEST;
        self.halted |= !loss_is_finite || !norm_is_finite && !overflow;
        if !self.halted {
            self.loss_scale = next;
        }
        self.halted || overflow
    }
}

/// One run of a graph.
struct Run<'a, T> {
    index: usize,
    graph: &'a Graph,
    inputs: &'a [(&'a str, Data<'a, T>)],
    step: &'a Step,
    /// The factor on this step's gradients.
    loss_scale: f32,
}

/// Memory of the session that a node writes.
struct Taken<T> {
    memory: Memory,
    real: Vec<T>,
    int: Vec<i32>,
}

fn grow<E: Copy>(buffers: &mut Vec<Vec<E>>, lens: &[usize], zero: E) {
    buffers.resize_with(buffers.len().max(lens.len()), Vec::new);
    for (buffer, len) in buffers.iter_mut().zip(lens) {
        if buffer.len() < *len {
            *buffer = vec![zero; *len];
        }
    }
}

/// The outputs of a node in the memory that was taken for them.
fn views<'a, T>(descs: &'a [TensorDesc], places: &[Place], taken: &'a mut [Taken<T>]) -> Vec<ViewMut<'a, T>> {
    let mut views: Vec<ViewMut<'a, T>> =
        descs.iter().map(|desc| ViewMut { desc, real: &mut [], int: &mut [] }).collect();
    for Taken { memory, real, int } in taken {
        let mut inside: Vec<usize> = (0..places.len()).filter(|i| places[*i].memory == *memory).collect();
        inside.sort_by_key(|i| places[*i].offset);
        if let (Memory::Int(_), [output]) = (*memory, &inside[..]) {
            views[*output].int = &mut int[..places[*output].len];
            continue;
        }
        let (mut rest, mut begin) = (&mut real[..], 0);
        for output in inside {
            let Place { offset, len, .. } = places[output];
            let (view, after) = rest.split_at_mut(offset - begin).1.split_at_mut(len);
            views[output].real = view;
            (rest, begin) = (after, offset + len);
        }
    }
    views
}
