//! Mixed precision: what is f16 in a graph, the loss scale when f16 overflows, and accuracies beside f32.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pollster::block_on;
use wgrad::data::{Dataset, Normalization};
use wgrad::gpu::{self, Gpu};
use wgrad::graph::{Capabilities, LossScale, Mode, NodeKind, Step};
use wgrad::models::{Model, ModelSpec, built_in};
use wgrad::ops::cast::Cast;
use wgrad::optim::Sgd;
use wgrad::plan::{Data, PageList, Plan, StepReport};
use wgrad::tensor::DType;
use wgrad::train::program::{TRAIN, Task, eval_graph, train_graph, training};
use wgrad::train::recipe::{Precision, Recipe};
use wgrad::train::{Checkpoint, Device, Evaluation, Run, Session, Settings, Trainer, weights};

const MODEL: &str = r#"
layers = [
  { conv2d = { out_channels = 8, kernel_size = 3, padding = 1, bias = false } }, "batch_norm", "relu",
  { residual = { body = [{ conv2d = { out_channels = 8, kernel_size = 3, padding = 1 } }, { group_norm = { num_groups = 2 } }, "gelu"] } },
  { max_pool2d = { kernel_size = 2 } },
  "flatten", { dropout = { p = 0.1 } }, { linear = { out_features = "classes" } },
]
"#;

fn small() -> Model {
    ModelSpec::parse("small", MODEL).unwrap().bind([1, 8, 8], 10).unwrap()
}

fn task(model: &Model, precision: Precision) -> Task {
    Task { image: model.input(), classes: 10, batch_size: 4, label_smoothing: 0.0, precision }
}

fn devices() -> Vec<Device> {
    let adapters = block_on(gpu::adapters());
    if adapters.is_empty() {
        assert!(
            std::env::var_os("WGRAD_REQUIRE_GPU").is_none(),
            "WGRAD_REQUIRE_GPU is set, but there is no adapter"
        );
        eprintln!("SKIPPED: this machine has no adapter; mixed precision was not tested on a GPU");
    }
    let open = |adapter| Device::Gpu(Arc::new(block_on(Gpu::open(adapter)).expect("the adapter opens")));
    [Device::Cpu].into_iter().chain(adapters.iter().map(open)).collect()
}

#[test]
fn results_and_gradients_are_f32_in_every_network() {
    for name in built_in() {
        let spec = ModelSpec::load(name).unwrap();
        let model = spec.bind(spec.unbound().unwrap().input(), 10).unwrap();
        let task = task(&model, Precision::F16);
        for graph in [train_graph(&model, &task).unwrap(), eval_graph(&model, &task).unwrap()] {
            let kept = graph.outputs().values().chain(graph.gradients().values());
            let statistics = graph.statistic_updates().iter().map(|update| &update.batch);
            for value in kept.chain(statistics) {
                assert_eq!(
                    graph.desc(*value).dtype,
                    DType::F32,
                    "{name}: {}",
                    graph.nodes()[value.node].label()
                );
            }
            // Gradients of odd logits may be cast, for products alone.
            let nodes = graph.nodes().iter().enumerate();
            let nodes = nodes.filter(|(node, _)| graph.op_at::<Cast>(*node).is_none()).map(|(_, node)| node);
            let half = nodes.flat_map(|node| &node.outputs).filter(|desc| desc.dtype == DType::F16);
            let half: Vec<_> = half.collect();
            assert!(
                !half.is_empty() && half.iter().all(|desc| desc.allows_half()),
                "{name}, {:?}",
                graph.mode()
            );
            let is_f32 = |node: &wgrad::graph::Node| node.outputs[0].dtype == DType::F32;
            assert!(graph.nodes().iter().all(|node| matches!(node.kind, NodeKind::Op(_))
                || node.outputs[0].dtype == DType::I32
                || is_f32(node)));
        }
        let full = train_graph(&model, &Task { precision: Precision::F32, ..task }).unwrap();
        assert!(full.nodes().iter().flat_map(|node| &node.outputs).all(|desc| desc.dtype != DType::F16));
        assert_eq!(full.mode(), Mode::Train);
    }
}

/// Bytes of the temporaries of a training step.
fn activations(model: &Model, batch_size: usize, precision: Precision) -> u64 {
    let task = Task { batch_size, ..task(model, precision) };
    let update = Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: false });
    let program = training(model, &task, update, 0.0, &Device::Cpu).unwrap();
    let limits = Capabilities { max_storage_binding: 1 << 40, max_buffer: 1 << 40, ..Capabilities::PORTABLE };
    Plan::lower(&program, &program.graphs[TRAIN], &limits).unwrap().temporary_bytes()
}

#[test]
fn activations_take_little_more_than_half_the_memory() {
    for (name, most) in [("resnet18-cifar", 0.62), ("small-cnn", 0.85)] {
        let spec = ModelSpec::load(name).unwrap();
        let model = spec.bind(spec.unbound().unwrap().input(), 10).unwrap();
        let [full, half] = Precision::ALL.map(|precision| activations(&model, 128, precision));
        println!(
            "{name}, 128 images: {:.1} MiB f32, {:.1} MiB f16",
            full as f64 / 1048576.0,
            half as f64 / 1048576.0
        );
        assert!((half as f64) < most * full as f64, "{name}: {half} of {full}");
    }
}

#[test]
fn the_scale_grows_after_good_steps_and_shrinks_after_an_overflow() {
    let scale = LossScale::INITIAL;
    assert_eq!(scale.after(true), LossScale { scale: 32768.0, good_steps: 0 });
    let grown = (0..LossScale::GROWTH_INTERVAL).fold(scale, |scale, _| scale.after(false));
    assert_eq!(grown, LossScale { scale: 131072.0, good_steps: 0 });
    let largest = LossScale { scale: LossScale::LARGEST, good_steps: LossScale::GROWTH_INTERVAL - 1 };
    assert_eq!(largest.after(false), LossScale { scale: LossScale::LARGEST, good_steps: 0 });
}

/// One session with its program's initial weights.
struct Steps {
    session: Session,
    next: u32,
}

impl Steps {
    fn new(device: &Device) -> Steps {
        let model = small();
        let update = Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: false });
        let program = training(&model, &task(&model, Precision::F16), update, 0.0, device).unwrap();
        let program = Arc::new(program);
        let mut session = block_on(Session::new(device, program.clone())).unwrap();
        let initial = weights::initial(&program.graphs[TRAIN], 0);
        let [parameters, statistics] = weights::all_pages(&program.pages, &initial);
        session.write_pages(PageList::Parameters, &parameters);
        session.write_pages(PageList::Statistics, &statistics);
        Steps { session, next: 0 }
    }

    fn step(&mut self, first_pixel: f32) -> StepReport {
        let mut images: Vec<f32> = (0..256).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        images[0] = first_pixel;
        let labels = [1, 3, 5, 7];
        let inputs = [("images", Data::Real(&images[..])), ("labels", Data::Int(&labels[..]))];
        let step = Step {
            step: self.next,
            learning_rate: 0.1,
            clip_norm: f32::INFINITY,
            optimizer: [1.0, 0.0, 0.0, 0.0],
            ..Step::default()
        };
        self.next += 1;
        self.session.submit(TRAIN, &inputs, &step).unwrap();
        block_on(self.session.collect(0)).unwrap().unwrap().report.unwrap()
    }

    fn state(&mut self) -> Vec<Vec<Vec<f32>>> {
        let lists = [PageList::Parameters, PageList::Slot(0), PageList::Statistics];
        lists.map(|list| block_on(self.session.read_pages(list)).unwrap()).to_vec()
    }
}

#[test]
fn an_overflow_leaves_out_the_update_and_halves_the_scale() {
    for device in devices() {
        let (mut steps, name) = (Steps::new(&device), device.name());
        steps.session.set_loss_scale(LossScale { scale: 1024.0, good_steps: 0 });
        let first = steps.step(0.0);
        assert_eq!(first.loss_scale, LossScale { scale: 1024.0, good_steps: 1 }, "{name}");
        assert!(first.grad_norm > 1e-3 && first.grad_norm < 100.0 && !first.halted, "{name}: {first:?}");
        let before = steps.state();
        // Far too large: gradients of 1e-3 are infinite as f16.
        let large = LossScale { scale: 2.0_f32.powi(40), good_steps: 7 };
        steps.session.set_loss_scale(large);
        let skipped = steps.step(0.0);
        assert_eq!(skipped.loss_scale, LossScale { scale: 2.0_f32.powi(39), good_steps: 0 }, "{name}");
        assert!(
            !skipped.halted && skipped.loss.is_finite() && !skipped.grad_norm.is_finite(),
            "{name}: {skipped:?}"
        );
        assert!(steps.state() == before, "{name}: the skipped step has changed the state");
        steps.session.set_loss_scale(LossScale { scale: 1024.0, good_steps: LossScale::GROWTH_INTERVAL - 1 });
        let good = steps.step(0.0);
        assert_eq!(good.loss_scale, LossScale { scale: 2048.0, good_steps: 0 }, "{name}");
        assert!(steps.state() != before, "{name}: the next step has changed nothing");
        let halted = steps.step(f32::NAN);
        assert!(halted.halted, "{name}: {halted:?}");
        assert_eq!(halted.loss_scale, good.loss_scale, "{name}");
        assert!(steps.step(0.0).halted, "{name}: a halted run has gone on");
    }
}

#[test]
fn the_gradient_norm_does_not_depend_on_the_scale() {
    for device in devices() {
        let norm = |scale: f32| {
            let mut steps = Steps::new(&device);
            steps.session.set_loss_scale(LossScale { scale, good_steps: 0 });
            steps.step(0.0).grad_norm
        };
        let [small, large] = [64.0, 2048.0].map(norm);
        assert!((small - large).abs() < 2e-3 * large, "{}: {small} and {large}", device.name());
    }
}

/// What `wgrad train` does with these flags, written as in a recipe.
fn train(flags: &str, device: &Device) -> Evaluation {
    let recipe = Recipe::from_flags(flags.parse().unwrap(), None).resolve().unwrap();
    let data = Dataset::load(&recipe.data, recipe.seed, &|_, _| {}).unwrap();
    let model = ModelSpec::load(&recipe.model).unwrap().bind(data.image, data.classes.len()).unwrap();
    let normalization = Normalization::of(&data.train).unwrap();
    let settings = Settings::of(&recipe, recipe.batch_size);
    let mut trainer = block_on(Trainer::new(&model, &data, normalization, settings, device)).unwrap();
    block_on(trainer.train(&mut (), &AtomicBool::new(false))).unwrap().evaluation
}

/// Seeds of the digits: 5 with `WGRAD_FULL`, as for f32.
fn seeds() -> std::ops::Range<u64> {
    0..if std::env::var_os("WGRAD_FULL").is_some() { 5 } else { 2 }
}

#[test]
fn digits_are_learned_as_well_as_in_f32() {
    let mean = |precision: Precision| {
        let flags = |seed| format!("seed = {seed}\nprecision = '{}'", precision.name());
        let accuracies: Vec<f64> = seeds().map(|seed| train(&flags(seed), &Device::Cpu).accuracy).collect();
        println!("digits, {}: {accuracies:.4?}", precision.name());
        accuracies.iter().sum::<f64>() / accuracies.len() as f64
    };
    let [full, half] = Precision::ALL.map(mean);
    assert!(half >= 0.985 && (half - full).abs() < 0.006, "f16 {half}, f32 {full}");
}

#[test]
fn digits_are_learned_on_gpus_too() {
    for device in devices().into_iter().skip(1) {
        let steps = if std::env::var_os("WGRAD_FULL").is_some() { "" } else { "max_steps = 40" };
        let losses = Precision::ALL.map(|precision| {
            let flags = format!("precision = '{}'\n{steps}", precision.name());
            let Evaluation { loss, accuracy, .. } = train(&flags, &device);
            println!("digits on {}, {}: {accuracy:.4}, loss {loss:.4}", device.name(), precision.name());
            loss
        });
        assert!((losses[0] - losses[1]).abs() < 0.1 * losses[0] + 0.01, "{}: {losses:?}", device.name());
    }
}

#[test]
fn mnist_is_learned_as_well_as_in_f32() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/datasets/mnist");
    if !folder.is_dir() || std::env::var_os("WGRAD_FULL").is_none() {
        eprintln!("SKIPPED: WGRAD_FULL is not set, or there is no MNIST in {}", folder.display());
        return;
    }
    let [full, half] = Precision::ALL.map(|precision| {
        let flags = "model = 'seed-cnn'\nepochs = 1\nlr = 0.05";
        let (folder, precision) = (folder.display(), precision.name());
        let flags = format!("data = 'mnist:{folder}'\nprecision = '{precision}'\n{flags}");
        let accuracy = train(&flags, &Device::Cpu).accuracy;
        println!("MNIST, {precision}: {accuracy:.4}");
        accuracy
    });
    assert!((half - full).abs() < 0.003, "f16 {half}, f32 {full}");
}

/// The model and the losses' scale after `steps` of a run; it is stopped and continued by another trainer in between.
fn run(device: &Device, resumed: bool) -> (weights::Tensors, LossScale) {
    let flags: Recipe = "precision = 'f16'\nmax_steps = 6".parse().unwrap();
    let recipe = Recipe::from_flags(flags, None).resolve().unwrap();
    let data = Dataset::load(&recipe.data, recipe.seed, &|_, _| {}).unwrap();
    let model = small();
    let settings = Settings::of(&recipe, recipe.batch_size);
    let trainer = || block_on(Trainer::new(&model, &data, None, settings.clone(), device)).unwrap();
    let mut first = trainer();
    if !resumed {
        block_on(first.train(&mut (), &AtomicBool::new(false))).unwrap();
        return (block_on(first.model()).unwrap(), first.progress().loss_scale);
    }
    let folder = tempfile::tempdir().unwrap();
    let run = Run::create(&folder.path().join("run")).unwrap();
    block_on(first.record_in(run.clone())).unwrap();
    block_on(first.train(&mut (), &AtomicBool::new(true))).unwrap_err();
    let slots = recipe.algorithm.update().slots();
    let (checkpoint, _) = Checkpoint::read(&run.path, slots).unwrap();
    assert_eq!(checkpoint.progress.loss_scale, first.progress().loss_scale);
    assert!(checkpoint.progress.loss_scale != LossScale::INITIAL, "{:?}", checkpoint.progress);
    let mut second = trainer();
    second.restore(&checkpoint, &run).unwrap();
    block_on(second.train(&mut (), &AtomicBool::new(false))).unwrap();
    (block_on(second.model()).unwrap(), second.progress().loss_scale)
}

#[test]
fn a_resumed_run_has_the_bits_and_the_scale_of_an_uninterrupted_one() {
    for device in devices() {
        let [whole, parts] = [false, true].map(|resumed| run(&device, resumed));
        assert!(whole == parts, "{}: {:?} and {:?}", device.name(), whole.1, parts.1);
    }
}
