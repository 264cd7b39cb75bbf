//! Optimizers against PyTorch's trajectories, learning rates against PyTorch's schedulers, and the halt flag.
//! `scripts/golden_optimizers.py` and `scripts/golden_schedules.py` say what the goldens hold.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::SafeTensors;
use serde::Deserialize;
use wgrad::cpu::{Element, Session};
use wgrad::graph::{Graph, Init, Mode, ParameterGroup, Step, TensorDesc, Update};
use wgrad::optim::{Adam, Curve, Schedule, Sgd};
use wgrad::plan::{Data, Optimizer, PageList, Program, StepReport};
use wgrad::tensor::Shape;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

/// One entry of the metadata of `optimizers.safetensors`.
#[derive(Debug, Deserialize)]
struct Case {
    id: String,
    optimizer: String,
    args: Args,
    clip_norm: Option<f32>,
    steps: u32,
    atol: HashMap<String, f64>,
}

/// PyTorch's arguments; those that are left out have PyTorch's defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Args {
    lr: f32,
    momentum: f64,
    dampening: f64,
    nesterov: bool,
    weight_decay: Option<f32>,
    betas: Option<[f64; 2]>,
    eps: Option<f64>,
}

impl Case {
    fn update(&self) -> Arc<dyn Update> {
        let Args { momentum, dampening, nesterov, .. } = self.args;
        let betas = self.args.betas.unwrap_or([0.9, 0.999]);
        let eps = self.args.eps.unwrap_or(1e-8);
        match self.optimizer.as_str() {
            "sgd" => Arc::new(Sgd { momentum, dampening, nesterov }),
            name => Arc::new(Adam { betas, eps, decoupled: name == "adamw" }),
        }
    }

    fn weight_decay(&self) -> f32 {
        self.args.weight_decay.unwrap_or(if self.optimizer == "adamw" { 0.01 } else { 0.0 })
    }

    fn step(&self, done: u32) -> Step {
        Step {
            step: done,
            learning_rate: self.args.lr,
            clip_norm: self.clip_norm.unwrap_or(f32::INFINITY),
            optimizer: self.update().step_numbers(done + 1),
            ..Step::default()
        }
    }
}

/// A program whose gradients, loss and batch statistics are inputs.
fn program(shapes: &[Shape], update: Arc<dyn Update>, weight_decay: f32) -> Program {
    let mut graph = Graph::new(Mode::Train);
    for (i, shape) in shapes.iter().enumerate() {
        let parameter = graph.parameter(&format!("param.{i}"), shape.clone(), Init::Default).unwrap();
        let gradient = graph.input(&format!("grad.{i}"), TensorDesc::f32(shape.clone()));
        graph.set_gradient(parameter, gradient);
    }
    let running = graph.statistic("running", [3], 0.0).unwrap();
    let batch = graph.input("batch", TensorDesc::f32([3]));
    graph.update_statistic(running, batch, 0.1);
    let loss = graph.input("loss", TensorDesc::f32([]));
    graph.output("loss", loss);
    let groups = vec![ParameterGroup { rate: 1.0, weight_decay }; shapes.len()];
    Program::new(vec![graph], Some(Optimizer { update, groups }), 128 << 20).unwrap()
}

/// A session of [`program`] in one element type.
struct Run<T: Element> {
    program: Arc<Program>,
    session: Session<T>,
}

impl<T: Element> Run<T> {
    fn new(program: Program, initial: &[Vec<f32>]) -> Run<T> {
        let program = Arc::new(program);
        let mut session = Session::new(program.clone()).poisoned();
        let set = &program.pages.parameters;
        let mut pages = set.zeroed();
        for ((name, ..), data) in set.tensors().iter().zip(initial) {
            set.store(&mut pages, name, data);
        }
        for (page, values) in session.pages_mut(PageList::Parameters).iter_mut().zip(pages) {
            page.clone_from(&values.iter().map(|x| T::of(f64::from(*x))).collect());
        }
        Run { program, session }
    }

    fn step(&mut self, gradients: &[Vec<f32>], loss: f32, step: &Step) -> StepReport {
        let data = gradients.iter().enumerate().map(|(i, data)| (format!("grad.{i}"), numbers(data)));
        let others =
            [("loss".to_string(), numbers(&[loss])), ("batch".to_string(), numbers(&[1.0, 2.0, 4.0]))];
        let inputs: Vec<(String, Vec<T>)> = data.chain(others).collect();
        let inputs: Vec<(&str, Data<'_, T>)> =
            inputs.iter().map(|(name, data)| (name.as_str(), Data::Real(data))).collect();
        self.session.run(0, &inputs, step)
    }

    /// A tensor of the parameters or of a slot. None of the shapes here has four dimensions, so that the physical
    /// order is PyTorch's.
    fn tensor(&self, list: PageList, index: usize) -> Vec<f64> {
        let span = self.program.pages.parameters.tensors()[index].2;
        let page = &self.session.pages(list)[span.page];
        page[span.offset..span.offset + span.len].iter().map(|x| x.f64()).collect()
    }

    /// All that an update may change.
    fn state(&self) -> Vec<Vec<T>> {
        let slots = (0..self.program.slots().len()).map(PageList::Slot);
        let lists = [PageList::Parameters, PageList::Statistics].into_iter().chain(slots);
        lists.flat_map(|list| self.session.pages(list).to_vec()).collect()
    }
}

fn numbers<T: Element>(data: &[f32]) -> Vec<T> {
    data.iter().map(|x| T::of(f64::from(*x))).collect()
}

fn read(file: &SafeTensors<'_>, name: &str) -> (Shape, Vec<f32>) {
    let view = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let data = view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    (Shape::from(view.shape()), data.collect())
}

/// Replays one case and compares as the goldens' header says: |got - want| <= atol + 1e-5 |want|.
fn check<T: Element>(case: &Case, file: &SafeTensors<'_>) {
    let count = file.names().iter().filter(|name| name.starts_with(&format!("{}/grad.", case.id))).count();
    let tensor = |name: &str| read(file, &format!("{}/{name}", case.id));
    let (shapes, initial): (Vec<Shape>, Vec<Vec<f32>>) =
        (0..count).map(|i| tensor(&format!("param.{i}.0"))).unzip();
    let gradients: Vec<Vec<f32>> = (0..count).map(|i| tensor(&format!("grad.{i}")).1).collect();
    let mut run = Run::<T>::new(program(&shapes, case.update(), case.weight_decay()), &initial);
    let mut got = HashMap::new();
    for done in 0..case.steps {
        let of_step = |(shape, all): (&Shape, &Vec<f32>)| {
            all[done as usize * shape.numel()..][..shape.numel()].to_vec()
        };
        let gradients: Vec<Vec<f32>> = shapes.iter().zip(&gradients).map(of_step).collect();
        let report = run.step(&gradients, 1.0, &case.step(done));
        assert!(!report.halted && report.step == u64::from(done) + 1, "{}: {report:?}", case.id);
        let suffix = if done == 0 { ".step1" } else { "" };
        got.extend(
            (0..count).map(|i| (format!("want.param.{i}{suffix}"), run.tensor(PageList::Parameters, i))),
        );
    }
    for (slot, name) in run.program.slots().iter().enumerate() {
        got.extend((0..count).map(|i| (format!("want.{name}.{i}"), run.tensor(PageList::Slot(slot), i))));
    }
    assert!(case.atol.len() >= 2 * count, "{} compares too little", case.id);
    for (name, atol) in &case.atol {
        let want = tensor(name).1;
        for (i, (got, want)) in
            got[name].iter().zip(&want).map(|(got, want)| (got, f64::from(*want))).enumerate()
        {
            let bound = atol + 1e-5 * want.abs();
            let kind = std::any::type_name::<T>();
            assert!((got - want).abs() <= bound, "{} {kind} {name}[{i}]: {got}, PyTorch {want}", case.id);
        }
    }
}

#[test]
fn optimizers_follow_pytorch() {
    let bytes = std::fs::read(golden("optimizers.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases = &header.metadata().as_ref().unwrap()["cases"];
    let cases: Vec<Case> = serde_json::from_str(cases).unwrap();
    assert_eq!(cases.len(), 17);
    for case in &cases {
        check::<f64>(case, &file);
        check::<f32>(case, &file);
    }
}

/// From the first step whose loss or gradient is not finite, nothing changes any more.
fn check_halt<T: Element>(update: Arc<dyn Update>, bad: f32, in_loss: bool) {
    let shapes = [Shape::from([7, 3]), Shape::from([])];
    let values = |start: f32| vec![(0..21).map(|i| start - 0.1 * i as f32).collect(), vec![start]];
    let mut run = Run::<T>::new(program(&shapes, update.clone(), 0.01), &values(1.0));
    let step = |done| Step {
        step: done,
        learning_rate: 0.1,
        clip_norm: 1.0,
        optimizer: update.step_numbers(done + 1),
        ..Step::default()
    };
    let start = run.state();
    assert!(!run.step(&values(0.5), 1.0, &step(0)).halted);
    let good = run.state();
    assert!(start.iter().zip(&good).all(|(start, good)| start != good), "a good step changes every page");
    let mut gradients = values(0.7);
    let mut loss = 1.0;
    if in_loss {
        loss = bad
    } else {
        gradients[0][20] = bad
    }
    let report = run.step(&gradients, loss, &step(1));
    assert!(report.halted && report.step == 2, "{report:?}");
    assert_eq!(report.loss.to_bits(), loss.to_bits());
    assert_eq!(report.grad_norm.is_finite(), in_loss);
    assert_eq!(run.state(), good, "{} with {bad}", update.name());
    for done in 2..4 {
        let report = run.step(&values(0.5), 1.0, &step(done));
        assert!(report.halted && report.loss == 1.0 && report.grad_norm.is_finite(), "{report:?}");
        assert_eq!(run.state(), good, "{} in a good step after {bad}", update.name());
    }
}

#[test]
fn nothing_changes_from_the_first_step_that_is_not_finite() {
    let updates: [Arc<dyn Update>; 2] = [
        Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: false }),
        Arc::new(Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled: true }),
    ];
    for update in updates {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for in_loss in [false, true] {
                check_halt::<f32>(update.clone(), bad, in_loss);
                check_halt::<f64>(update.clone(), bad, in_loss);
            }
        }
    }
}

/// One entry of `schedules.json`.
#[derive(Debug, Deserialize)]
struct ScheduleCase {
    schedule: String,
    args: ScheduleArgs,
    lr: f64,
    total_steps: u64,
    warmup_steps: u64,
    min_lr: f64,
    want: Vec<f64>,
}

/// PyTorch's arguments.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ScheduleArgs {
    step_size: u64,
    gamma: f64,
    milestones: Vec<u64>,
    pct_start: Option<f64>,
    div_factor: Option<f64>,
    final_div_factor: Option<f64>,
}

impl ScheduleCase {
    fn schedule(&self) -> Schedule {
        let ScheduleArgs { step_size, gamma, .. } = self.args;
        let curve = match self.schedule.as_str() {
            "constant" => Curve::Constant,
            "step" => Curve::Step { step_size, gamma },
            "multi_step" => Curve::MultiStep { milestones: self.args.milestones.clone(), gamma },
            "exponential" => Curve::Exponential { gamma },
            "cosine" => Curve::Cosine { min_lr: self.min_lr },
            "one_cycle" => Curve::OneCycle {
                pct_start: self.args.pct_start.unwrap_or(0.3),
                div_factor: self.args.div_factor.unwrap_or(25.0),
                final_div_factor: self.args.final_div_factor.unwrap_or(1e4),
            },
            other => panic!("a golden has the schedule {other}"),
        };
        Schedule { lr: self.lr, warmup_steps: self.warmup_steps, curve }
    }
}

#[test]
fn learning_rates_follow_pytorch() {
    let text = std::fs::read_to_string(golden("schedules.json")).unwrap();
    let cases: Vec<ScheduleCase> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 19);
    for case in &cases {
        let schedule = case.schedule();
        assert_eq!(case.want.len() as u64, case.total_steps);
        for (step, want) in (0..).zip(&case.want) {
            let got = schedule.learning_rate(step, case.total_steps);
            // PyTorch multiplies step after step: its own rounding adds up.
            let bound = 1e-12 * case.lr + 1e-9 * want.abs();
            assert!((got - want).abs() <= bound, "{schedule:?} step {step}: {got}, PyTorch {want}");
        }
    }
}
