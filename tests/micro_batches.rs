//! A step in micro-batches is the step of the whole batch, on both executors.

use std::sync::Arc;

use pollster::block_on;
use wgrad::cpu;
use wgrad::gpu::{self, Gpu};
use wgrad::graph::{ParameterGroup, Step};
use wgrad::models::ModelSpec;
use wgrad::optim::{Adam, Sgd};
use wgrad::plan::{Data, MemoryUse, Optimizer, PageList, Plan, Program, StepReport};
use wgrad::train::program::{TRAIN, Task, eval_graph, train_graph};
use wgrad::train::recipe::Precision;
use wgrad::train::{Device, Session, weights};

const BATCH: usize = 12;
const PIXELS: usize = 5 * 6 * 2;

/// Without batch norm, but with what depends on the sample's number.
const PLAIN: &str = r#"
input = [2, 5, 6]
layers = [
  { conv2d = { out_channels = 5, kernel_size = 3, padding = 1 } }, "gelu", { dropout2d = { p = 0.3 } },
  { group_norm = { num_groups = 5 } }, { max_pool2d = { kernel_size = 2 } },
  "flatten", { dropout = { p = 0.4 } }, { linear = { out_features = 3 } },
]
"#;

const NORMED: &str = r#"
input = [2, 5, 6]
layers = [
  { conv2d = { out_channels = 4, kernel_size = 3, bias = false } }, { batch_norm = { momentum = 0.3 } }, "relu",
  "flatten", { linear = { out_features = 3 } },
]
"#;

fn program(model: &str, micro_batches: usize, adam: bool) -> Arc<Program> {
    let model = ModelSpec::parse("net", model).unwrap().unbound().unwrap();
    let batch_size = BATCH / micro_batches;
    let task = Task {
        image: model.input(),
        classes: 3,
        batch_size,
        label_smoothing: 0.1,
        precision: Precision::F32,
    };
    let graphs = vec![train_graph(&model, &task).unwrap(), eval_graph(&model, &task).unwrap()];
    let groups = vec![ParameterGroup { rate: 1.0, weight_decay: 0.01 }; graphs[TRAIN].parameters().len()];
    let optimizer = match adam {
        true => Optimizer::new(Arc::new(Adam { betas: [0.9, 0.99], eps: 1e-3, decoupled: true }), groups),
        false => Optimizer::new(Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: true }), groups),
    };
    let program = Program::new(graphs, Some(optimizer), 128 << 20).unwrap();
    Arc::new(program.in_micro_batches(micro_batches))
}

/// Images, and labels of which some are ignored: in one case all of a micro-batch.
fn batch(number: usize) -> (Vec<f32>, Vec<i32>) {
    let images = (0..BATCH * PIXELS).map(|i| ((i * 37 + number * 11) % 101) as f32 / 50.0 - 1.0).collect();
    let mut labels: Vec<i32> = (0..BATCH).map(|i| ((i * 7 + number) % 3) as i32).collect();
    labels[1] = -100;
    if number == 1 {
        labels[4..8].fill(-100);
    }
    (images, labels)
}

fn step(program: &Program, number: u32) -> Step {
    let update = &program.optimizer.as_ref().unwrap().update;
    Step {
        seed: 5,
        step: number,
        // Batch norm with ReLU turns rounding into another sign now and then: its statistics are compared without it.
        learning_rate: if program.pages.statistics.tensors().is_empty() { 0.1 } else { 0.0 },
        clip_norm: 0.8,
        optimizer: update.step_numbers(number + 1),
        ..Step::default()
    }
}

const STEPS: usize = 3;

type State = (Vec<StepReport>, Vec<Vec<Vec<f64>>>);

fn lists(program: &Program) -> Vec<PageList> {
    let slots = (0..program.slots().len()).map(PageList::Slot);
    [PageList::Parameters, PageList::Statistics].into_iter().chain(slots).collect()
}

fn initial(program: &Program) -> [Vec<Vec<f32>>; 2] {
    weights::all_pages(&program.pages, &weights::initial(&program.graphs[TRAIN], 3))
}

/// Reports and state after a few steps in f64 on the CPU.
fn reference(program: &Arc<Program>) -> State {
    let mut session = cpu::Session::<f64>::new(program.clone()).poisoned();
    for (list, pages) in [PageList::Parameters, PageList::Statistics].into_iter().zip(initial(program)) {
        for (own, page) in session.pages_mut(list).iter_mut().zip(pages) {
            own.iter_mut().zip(page).for_each(|(own, value)| *own = f64::from(value));
        }
    }
    let mut reports = vec![];
    for number in 0..STEPS {
        let (images, labels) = batch(number);
        let images: Vec<f64> = images.into_iter().map(f64::from).collect();
        let inputs = [("images", Data::Real(&images[..])), ("labels", Data::Int(&labels[..]))];
        program.check_inputs(TRAIN, &inputs).unwrap();
        reports.push(session.run(TRAIN, &inputs, &step(program, number as u32)));
    }
    (reports, lists(program).into_iter().map(|list| session.pages(list).to_vec()).collect())
}

/// The same in f32 on a device.
fn on_device(device: &Device, program: &Arc<Program>) -> State {
    let mut session = block_on(Session::new(device, program.clone())).unwrap();
    for (list, pages) in [PageList::Parameters, PageList::Statistics].into_iter().zip(initial(program)) {
        session.write_pages(list, &pages);
    }
    let mut reports = vec![];
    for number in 0..STEPS {
        let (images, labels) = batch(number);
        let inputs = [("images", Data::Real(&images[..])), ("labels", Data::Int(&labels[..]))];
        session.submit(TRAIN, &inputs, &step(program, number as u32)).unwrap();
        reports.push(block_on(session.collect(0)).unwrap().unwrap().report.unwrap());
    }
    let wide = |pages: Vec<Vec<f32>>| pages.into_iter().map(|page| page.into_iter().map(f64::from).collect());
    let read = |list| wide(block_on(session.read_pages(list)).unwrap()).collect();
    (reports, lists(program).into_iter().map(read).collect())
}

fn devices() -> Vec<Device> {
    let adapters = block_on(gpu::adapters());
    assert!(
        !adapters.is_empty() || std::env::var_os("WGRAD_REQUIRE_GPU").is_none(),
        "WGRAD_REQUIRE_GPU is set, but there is no adapter"
    );
    let open = |adapter| Device::Gpu(Arc::new(block_on(Gpu::open(adapter)).expect("the adapter opens")));
    [Device::Cpu].into_iter().chain(adapters.iter().map(open)).collect()
}

/// Compares two states; `tolerance` is relative to the largest magnitude of a page.
fn compare(what: &str, got: &State, want: &State, tolerance: f64) {
    for (got, want) in got.0.iter().zip(&want.0) {
        assert_eq!((got.step, got.correct, got.halted), (want.step, want.correct, want.halted), "{what}");
        // Reports are f32, whatever the session computes in.
        let close = |a: f32, b: f32| (a - b).abs() <= (tolerance as f32 + 1e-7) * b.abs();
        assert!(
            close(got.loss, want.loss) && close(got.grad_norm, want.grad_norm),
            "{what}: {got:?} {want:?}"
        );
    }
    for (list, (got, want)) in got.1.iter().zip(&want.1).enumerate() {
        for (got, want) in got.iter().zip(want) {
            let scale = want.iter().fold(0.0f64, |most, x| if x.abs() > most { x.abs() } else { most });
            for (at, (a, b)) in got.iter().zip(want).enumerate() {
                assert!((a - b).abs() <= tolerance * scale, "{what}: list {list}, {at}: {a} for {b}");
            }
        }
    }
}

#[test]
fn a_step_in_micro_batches_is_the_step_of_the_whole_batch() {
    for adam in [false, true] {
        let whole = reference(&program(PLAIN, 1, adam));
        for count in [2, 3, 12] {
            let program = program(PLAIN, count, adam);
            compare(&format!("{count} parts in f64"), &reference(&program), &whole, 1e-12);
            for device in devices() {
                let got = on_device(&device, &program);
                compare(&format!("{count} parts on {}", device.name()), &got, &whole, 1e-4);
            }
        }
    }
}

#[test]
fn running_statistics_take_in_each_micro_batch() {
    for count in [2, 3] {
        let program = program(NORMED, count, false);
        let want = reference(&program);
        for device in devices() {
            compare(
                &format!("{count} parts on {}", device.name()),
                &on_device(&device, &program),
                &want,
                1e-4,
            );
        }
    }
    // One step with a learning rate of 0 against two by hand: the statistics are updated one after the other.
    let statistics = |program: &Arc<Program>, parts: usize| {
        let mut session = cpu::Session::<f64>::new(program.clone());
        let pages = initial(program);
        for (list, pages) in [PageList::Parameters, PageList::Statistics].into_iter().zip(pages) {
            for (own, page) in session.pages_mut(list).iter_mut().zip(pages) {
                own.iter_mut().zip(page).for_each(|(own, value)| *own = f64::from(value));
            }
        }
        let (images, labels) = batch(0);
        let images: Vec<f64> = images.into_iter().map(f64::from).collect();
        let (pixels, samples) = (images.len() / parts, labels.len() / parts);
        for part in 0..parts {
            let images = &images[part * pixels..][..pixels];
            let labels = &labels[part * samples..][..samples];
            let inputs = [("images", Data::Real(images)), ("labels", Data::Int(labels))];
            let step = Step { learning_rate: 0.0, clip_norm: f32::INFINITY, ..Step::default() };
            session.run(TRAIN, &inputs, &step);
        }
        session.pages(PageList::Statistics)[0].clone()
    };
    let at_once = statistics(&program(NORMED, 2, false), 1);
    // The same graph, made for half a batch, as two steps.
    let mut halves = Arc::try_unwrap(program(NORMED, 2, false)).unwrap();
    halves.micro_batches = 1;
    let one_by_one = statistics(&Arc::new(halves), 2);
    for (a, b) in at_once.iter().zip(&one_by_one) {
        assert!((a - b).abs() <= 1e-6 * (1.0 + b.abs()), "{a} for {b}");
    }
}

#[test]
fn a_loss_that_is_not_finite_in_one_micro_batch_changes_nothing() {
    for device in devices() {
        let program = program(NORMED, 3, false);
        let mut session = block_on(Session::new(&device, program.clone())).unwrap();
        let before = initial(&program);
        for (list, pages) in [PageList::Parameters, PageList::Statistics].into_iter().zip(&before) {
            session.write_pages(list, pages);
        }
        let (mut images, labels) = batch(0);
        images[PIXELS * 5] = f32::NAN;
        let inputs = [("images", Data::Real(&images[..])), ("labels", Data::Int(&labels[..]))];
        session.submit(TRAIN, &inputs, &step(&program, 0)).unwrap();
        let report = block_on(session.collect(0)).unwrap().unwrap().report.unwrap();
        assert!(report.halted && report.loss.is_nan(), "{}: {report:?}", device.name());
        for (list, pages) in [PageList::Parameters, PageList::Statistics].into_iter().zip(&before) {
            assert_eq!(&block_on(session.read_pages(list)).unwrap(), pages, "{}", device.name());
        }
    }
}

#[test]
fn micro_batches_need_less_memory() {
    let limits = &wgrad::graph::Capabilities::PORTABLE;
    let memory = |count| {
        let program = program(PLAIN, count, false);
        let plans: Vec<Plan> =
            program.graphs.iter().map(|graph| Plan::lower(&program, graph, limits).unwrap()).collect();
        MemoryUse::of(&program, &plans)
    };
    let (whole, parts) = (memory(1), memory(12));
    assert_eq!(parts.gradients, 2 * whole.gradients, "their sums");
    assert!(parts.activations * 5 < whole.activations, "{parts:?} {whole:?}");
}
