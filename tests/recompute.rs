//! Activations that are made again in the backward pass: the same bits, in less memory, on both executors.

use std::sync::Arc;

use pollster::block_on;
use wgrad::Error;
use wgrad::gpu::{self, Gpu};
use wgrad::graph::{Capabilities, NodeKind, Step};
use wgrad::models::{Model, ModelSpec};
use wgrad::optim::Sgd;
use wgrad::plan::{Data, PageList, Plan, Program};
use wgrad::train::program::{TRAIN, Task, training};
use wgrad::train::recipe::{Precision, Recompute};
use wgrad::train::{Device, Fit, Session, predicted, weights};

/// Activations of every kind that is made again, alone and after each other, and some that are not.
const MIXED: &str = r#"
input = [3, 16, 16]
layers = [
  { conv2d = { out_channels = 8, kernel_size = 3, padding = 1 } }, "gelu", { dropout2d = { p = 0.3 } }, "tanh",
  { conv2d = { out_channels = 7, kernel_size = 3, padding = 1 } }, "batch_norm", "silu", "softplus",
  { residual = { body = [
    { conv2d = { out_channels = 7, kernel_size = 3, padding = 1, bias = false } }, "batch_norm", "relu",
    { residual = { body = [{ conv2d = { out_channels = 7, kernel_size = 1 } }, "elu", { drop_path = { p = 0.2 } }] } },
    { conv2d = { out_channels = 7, kernel_size = 3, padding = 1, bias = false } }, "batch_norm",
  ] } }, "hardswish",
  { conv2d = { out_channels = 12, kernel_size = 3, stride = 2 } }, { batch_norm = { affine = false } }, "sigmoid",
  "flatten", { linear = { out_features = 9 } }, "gelu", { dropout = { p = 0.2 } }, { linear = { out_features = "classes" } },
]
"#;

fn model(name: &str) -> Model {
    let spec = if name == "mixed" { ModelSpec::parse(name, MIXED) } else { ModelSpec::load(name) };
    let spec = spec.expect("a good model");
    spec.bind([3, 16, 16], 5).or_else(|_| spec.bind([1, 28, 28], 5)).expect("takes these images")
}

fn program(model: &Model, batch_size: usize, precision: Precision, device: &Device) -> Program {
    let task = Task { image: model.input(), classes: 5, batch_size, label_smoothing: 0.1, precision };
    let update = Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: false });
    training(model, &task, update, 0.01, device).expect("builds")
}

fn recomputing(mut program: Program) -> Program {
    assert!(program.recompute().expect("rebuilds"), "something is made again");
    program
}

fn devices() -> Vec<Device> {
    let adapters = block_on(gpu::adapters());
    let required = std::env::var_os("WGRAD_REQUIRE_GPU").is_some();
    assert!(!(required && adapters.is_empty()), "WGRAD_REQUIRE_GPU is set, but there is no adapter");
    let open = |adapter| Device::Gpu(Arc::new(block_on(Gpu::open(adapter)).expect("the adapter opens")));
    [Device::Cpu].into_iter().chain(adapters.iter().map(open)).collect()
}

/// Parameters, statistics, gradients and momentum after two steps.
fn trained(device: &Device, program: Program, image: [usize; 3], batch: usize) -> Vec<Vec<Vec<f32>>> {
    let program = Arc::new(program);
    let mut session = block_on(Session::new(device, program.clone())).expect("fits");
    let initial = weights::all_pages(&program.pages, &weights::initial(&program.graphs[TRAIN], 3));
    for (list, pages) in [PageList::Parameters, PageList::Statistics].into_iter().zip(&initial) {
        session.write_pages(list, pages);
    }
    let images: Vec<f32> =
        (0..batch * image.iter().product::<usize>()).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    let labels: Vec<i32> = (0..batch as i32).map(|i| i * 7 % 5).collect();
    for step in 0..2 {
        let inputs = [("images", Data::Real(&images[..])), ("labels", Data::Int(&labels[..]))];
        let step = Step { seed: 5, step, learning_rate: 0.1, clip_norm: f32::INFINITY, ..Step::default() };
        session.submit(TRAIN, &inputs, &step).expect("runs");
        let report = block_on(session.collect(0)).expect("runs").and_then(|finished| finished.report);
        assert!(!report.expect("a training step").halted);
    }
    let lists = [PageList::Parameters, PageList::Statistics, PageList::Gradients, PageList::Slot(0)];
    lists.into_iter().map(|list| block_on(session.read_pages(list)).expect("reads")).collect()
}

#[test]
fn no_bit_of_a_step_changes() {
    for device in devices() {
        for (name, batch) in [("mixed", 3), ("resnet18-cifar", 2), ("mobilenet_v2-cifar", 2)] {
            for precision in Precision::ALL {
                let model = model(name);
                let kept = program(&model, batch, precision, &device);
                let again = recomputing(program(&model, batch, precision, &device));
                let [kept, again] =
                    [kept, again].map(|program| trained(&device, program, model.input(), batch));
                let bits = |state: &Vec<Vec<Vec<f32>>>| -> Vec<u32> {
                    state.iter().flatten().flatten().map(|value| value.to_bits()).collect()
                };
                assert!(bits(&kept) == bits(&again), "{name} in {precision:?} on {}", device.name());
            }
        }
    }
}

#[test]
fn it_takes_less_memory() {
    let temporaries = |program: &Program| {
        let plan = Plan::lower(program, &program.graphs[TRAIN], &Capabilities::PORTABLE);
        plan.expect("lowers").temporary_bytes()
    };
    for name in ["mixed", "small-cnn", "resnet18-cifar", "mobilenet_v2-cifar"] {
        for precision in Precision::ALL {
            let kept = program(&model(name), 16, precision, &Device::Cpu);
            let (before, nodes) = (temporaries(&kept), kept.graphs[TRAIN].nodes().len());
            let again = recomputing(kept);
            let ratio = temporaries(&again) as f64 / before as f64;
            println!("{name} in {precision:?}: {ratio:.2} of {before}");
            assert!(ratio < 0.95, "{name} in {precision:?}: {ratio:.2} of {before}");
            assert!(again.graphs[TRAIN].nodes().len() > nodes);
        }
    }
    // Without batch norm and activations of their own there is nothing to gain.
    let mut nothing = program(&model("seed-cnn"), 16, Precision::F32, &Device::Cpu);
    let nodes = nothing.graphs[TRAIN].nodes().len();
    assert!(!nothing.recompute().expect("rebuilds"));
    assert_eq!(nothing.graphs[TRAIN].nodes().len(), nodes);
}

#[test]
fn only_what_is_cheap_is_made_again() {
    for name in ["mixed", "resnet18-cifar", "mobilenet_v2-cifar"] {
        let kept = program(&model(name), 4, Precision::F16, &Device::Cpu);
        let count = |program: &Program, wanted: &str| {
            let nodes = program.graphs[TRAIN].nodes().iter();
            nodes.filter(|node| matches!(&node.kind, NodeKind::Op(op) if op.name() == wanted)).count()
        };
        let names = ["conv2d", "linear", "dropout", "dropout2d", "drop_path", "flatten", "max_pool2d"];
        let before = names.map(|name| count(&kept, name));
        let again = recomputing(kept);
        assert_eq!(names.map(|name| count(&again, name)), before, "{name}");
    }
}

#[test]
fn a_step_recomputes_before_it_is_split() {
    let model = model("mobilenet_v2-cifar");
    for device in devices() {
        let build = |batch| Ok(program(&model, batch, Precision::F32, &device));
        let kept = predicted(&device, &program(&model, 16, Precision::F32, &device)).expect("lowers").total();
        let again = recomputing(program(&model, 16, Precision::F32, &device));
        let again = predicted(&device, &again).expect("lowers").total();
        assert!(again < kept);
        let find = |recompute, memory_limit| {
            let fit = Fit { batch_size: 16, memory_limit, recompute, ..Fit::default() };
            let fitted = block_on(fit.find(&device, build))?;
            assert_eq!(
                fitted.session.device_bytes().unwrap_or(0),
                match device {
                    Device::Cpu => 0,
                    Device::Gpu(_) => predicted(&device, &fitted.program)?.total(),
                }
            );
            Ok::<_, Error>((fitted.recomputes, fitted.micro_batch_size))
        };
        let by_itself = matches!(device, Device::Cpu);
        assert_eq!(find(Recompute::Auto, None).expect("fits"), (by_itself, 16));
        assert_eq!(find(Recompute::Auto, Some(kept)).expect("fits"), (by_itself, 16));
        assert_eq!(find(Recompute::Auto, Some(again)).expect("fits"), (true, 16));
        assert_eq!(find(Recompute::Always, None).expect("fits"), (true, 16));
        let (recomputes, samples) = find(Recompute::Never, Some(kept - 1)).expect("fits in parts");
        assert!(!recomputes && samples < 16);
        let (_, samples) = find(Recompute::Auto, Some(again - 1)).expect("fits in parts");
        assert!(samples < 16);
        assert!(matches!(find(Recompute::Auto, Some(1 << 20)), Err(Error::OutOfMemory { .. })));
    }
}
