//! The built-in networks against torchvision's, from the same formula for every weight: logits, the loss of a training
//! step, and the loss after it. `scripts/golden_zoo.py` says how the goldens are made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use wgrad::graph::{ParameterGroup, Step, TensorDesc, Update};
use wgrad::models::{Model, ModelSpec};
use wgrad::optim::Sgd;
use wgrad::plan::{Optimizer, PageSet, Program};
use wgrad::tensor::Shape;
use wgrad::train::program::{EVAL, TRAIN, Task, eval_graph, train_graph};
use wgrad::train::recipe::Precision;

use super::device::{Device, devices};
use super::golden::{Tensor, directory};

const CLASSES: usize = 10;

/// Networks that a software GPU gets through in seconds.
const ON_GPUS: [&str; 5] =
    ["squeezenet1_1", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "resnet18-cifar"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    size: usize,
    batch: usize,
    /// The hidden size of a vgg, where that is not torchvision's.
    hidden: Option<i64>,
    gain: f64,
    lr: f32,
    /// By what part PyTorch's results change with f32, or with the last bit of the weights.
    off: BTreeMap<String, f64>,
    loss: f64,
    grad_norm: f64,
    loss_after: f64,
    logits: Vec<Vec<f32>>,
}

fn goldens(tier: &str) -> BTreeMap<String, Golden> {
    let text = std::fs::read_to_string(directory().join("zoo.json")).unwrap();
    let mut tiers: BTreeMap<String, BTreeMap<String, Golden>> = serde_json::from_str(&text).unwrap();
    tiers.remove(tier).unwrap()
}

#[test]
fn networks_are_torchvisions() {
    check_all(&Device::CpuF32, goldens("quick"));
    for device in devices().into_iter().filter(|device| matches!(device, Device::Gpu(..))) {
        let mut goldens = goldens("quick");
        goldens.retain(|name, _| ON_GPUS.contains(&name.as_str()));
        check_all(&device, goldens);
    }
}

#[test]
fn networks_in_f64_are_torchvisions() {
    if std::env::var_os("WGRAD_FULL").is_some() {
        check_all(&Device::CpuF64, goldens("quick"));
    }
}

#[test]
fn networks_of_full_size_are_torchvisions() {
    if std::env::var_os("WGRAD_FULL").is_some() {
        check_all(&Device::CpuF32, goldens("full"));
    }
}

fn check_all(device: &Device, goldens: BTreeMap<String, Golden>) {
    let mut problems = vec![];
    for (name, golden) in goldens {
        let start = Instant::now();
        let found = check(device, &name, &golden).unwrap_or_else(|error| vec![error]);
        println!("{name} on {device}: {:.1} s", start.elapsed().as_secs_f64());
        problems.extend(found.iter().map(|problem| format!("{name} on {device}: {problem}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Evaluates and trains, and says what differs.
fn check(device: &Device, name: &str, golden: &Golden) -> Result<Vec<String>, String> {
    let (size, batch) = (golden.size, golden.batch);
    let model = model(name, golden);
    let program = Arc::new(program(&model, batch));
    let pages = |set: &PageSet| {
        let mut pages = set.zeroed();
        for place in set.places(&mut pages) {
            let values = fill(place.name, place.shape, golden.gain);
            place.write(&values);
        }
        pages
    };
    let stored = [&program.pages.parameters, &program.pages.statistics].map(pages);
    let mut session = device.open(&program, [&stored[0], &stored[1]])?;
    drop(stored);
    let shape = Shape::from([batch, 3, size, size]);
    let pixels = uniform("images", shape.numel());
    let images = Tensor { desc: TensorDesc::f32(shape), floats: pixels, ints: vec![] };
    let ints = (0..batch).map(|i| (i % CLASSES) as i32).collect();
    let labels = Tensor { desc: TensorDesc::i32([batch]), floats: vec![], ints };
    let inputs = [("images", &images), ("labels", &labels)];

    let (_, outputs) = session.run(&program, EVAL, &inputs, &Step::default())?;
    let want = golden.logits.concat();
    let pairs = outputs["logits"].iter().zip(&want);
    let worst = pairs.map(|(got, want)| (got - f64::from(*want)).abs());
    // NaN is the worst.
    let worst = worst.fold(0.0, |worst, off| if off <= worst { worst } else { off });
    let mut problems = vec![];
    if !(worst <= 1e-4 && outputs["logits"].len() == want.len()) {
        problems.push(format!("logits are off by {worst:.1e}"));
    }
    let mut losses = vec![];
    for done in 0..2 {
        let (report, _) = session.run(&program, TRAIN, &inputs, &step(golden, done))?;
        losses.push(report.ok_or("a training step gave no report")?);
    }
    // A ReLU's argument so near zero that rounding chooses its side moves the gradient by a part in 10^5.
    let results = [
        ("loss", losses[0].loss, golden.loss, 1e-5),
        ("grad_norm", losses[0].grad_norm, golden.grad_norm, 5e-5),
        ("loss_after", losses[1].loss, golden.loss_after, 1e-5),
    ];
    for (what, got, want, least) in results {
        let off = (f64::from(got) / want - 1.0).abs();
        // Deep networks amplify what f32 rounds off, PyTorch's too.
        let allowed = if 8.0 * golden.off[what] > least { 8.0 * golden.off[what] } else { least };
        if off.is_nan() || off > allowed {
            problems.push(format!(
                "{what} is {got}, torchvision has {want}, off by {off:.1e}, allowed is {allowed:.1e}"
            ));
        }
    }
    Ok(problems)
}

fn step(golden: &Golden, done: u32) -> Step {
    Step {
        step: done,
        learning_rate: golden.lr,
        clip_norm: f32::INFINITY,
        optimizer: sgd().step_numbers(done + 1),
        ..Step::default()
    }
}

fn sgd() -> Arc<dyn Update> {
    Arc::new(Sgd { momentum: 0.0, dampening: 0.0, nesterov: false })
}

fn program(model: &Model, batch_size: usize) -> Program {
    let task = Task {
        image: model.input(),
        classes: CLASSES,
        batch_size,
        label_smoothing: 0.0,
        precision: Precision::F32,
    };
    let graphs = vec![train_graph(model, &task).unwrap(), eval_graph(model, &task).unwrap()];
    let groups = vec![ParameterGroup { rate: 1.0, weight_decay: 0.0 }; graphs[TRAIN].parameters().len()];
    Program::new(graphs, Some(Optimizer::new(sgd(), groups)), 1 << 30).unwrap()
}

/// The built-in network without randomness in training, and as narrow as the golden's.
fn model(name: &str, golden: &Golden) -> Model {
    let spec = ModelSpec::load(name).unwrap();
    let mut table = toml::Value::Table(spec.text().parse().unwrap());
    edit(&mut table, golden.hidden);
    ModelSpec::parse(name, &toml::to_string(&table).unwrap())
        .and_then(|spec| spec.bind([3, golden.size, golden.size], CLASSES))
        .unwrap()
}

fn edit(value: &mut toml::Value, hidden: Option<i64>) {
    match value {
        toml::Value::Array(values) => values.iter_mut().for_each(|value| edit(value, hidden)),
        toml::Value::Table(table) => table.iter_mut().for_each(|(key, value)| match (key.as_str(), &value) {
            ("p", toml::Value::Float(_)) => *value = toml::Value::Float(0.0),
            ("out_features", toml::Value::Integer(4096)) => {
                *value = toml::Value::Integer(hidden.unwrap_or(4096));
            }
            _ => edit(value, hidden),
        }),
        _ => {}
    }
}

/// `uniform` of scripts/golden_zoo.py.
fn uniform(name: &str, count: usize) -> Vec<f32> {
    let seed =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let number = |index: usize| {
        let mut x = (index as u32).wrapping_mul(0x9e37_79b9).wrapping_add(seed);
        x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
        x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        (x >> 8) as f32 * 0.5_f32.powi(23) - 1.0
    };
    (0..count).map(number).collect()
}

/// `fill` of scripts/golden_zoo.py.
fn fill(name: &str, shape: &Shape, gain: f64) -> Vec<f32> {
    let mut numbers = uniform(name, shape.numel());
    let positive = ["running_var", "weight", "layer_scale"].iter().any(|end| name.ends_with(end));
    let map: Box<dyn Fn(f32) -> f32> = if matches!(shape.len(), 2 | 4) {
        let fan_in = shape.iter().skip(1).product::<usize>() as f64;
        let bound = (gain * (3.0 / fan_in).sqrt()) as f32;
        Box::new(move |u| u * bound)
    } else if positive {
        Box::new(|u| 1.0 + 0.25 * u)
    } else {
        Box::new(|u| 0.125 * u)
    };
    numbers.iter_mut().for_each(|u| *u = map(*u));
    numbers
}
