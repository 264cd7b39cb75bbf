//! Training does not use more and more memory. In a process of its own: what other tests allocate would count too.
#![cfg(target_os = "linux")]

use std::sync::Arc;

use pollster::block_on;
use wgrad::gpu::{self, Gpu};
use wgrad::graph::Step;
use wgrad::models::ModelSpec;
use wgrad::optim::Sgd;
use wgrad::plan::Data;
use wgrad::train::program::{self, EVAL, TRAIN, Task};
use wgrad::train::recipe::Precision;
use wgrad::train::{Device, Session};

const MIB: usize = 1 << 20;
const STEPS: u32 = 10_000;

const MODEL: &str = r#"
layers = [
  { conv2d = { out_channels = 2, kernel_size = 3, bias = false } }, "batch_norm", "relu",
  "flatten", { linear = { out_features = "classes" } },
]
"#;

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let fields = std::fs::read_to_string("/proc/self/statm").unwrap();
    // Pages of 4 KiB; where they are larger, this counts too little, but the limit still catches a leak of every step.
    fields.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Resident bytes after the warm-up and at the end of `steps` training steps, every fifth followed by an evaluation.
fn train(device: &Device, steps: u32) -> [usize; 2] {
    let model = ModelSpec::parse("tiny", MODEL).unwrap().bind([1, 4, 4], 3).unwrap();
    let task =
        Task { image: [1, 4, 4], classes: 3, batch_size: 2, label_smoothing: 0.0, precision: Precision::F32 };
    let update = Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: false });
    let program = Arc::new(program::training(&model, &task, update, 0.0, device).unwrap());
    let mut session = block_on(Session::new(device, program)).unwrap();
    block_on(session.prepare(EVAL)).unwrap();
    let (images, labels) = (vec![0.5; 32], vec![0, 2]);
    let inputs = [("images", Data::Real(&images[..])), ("labels", Data::Int(&labels[..]))];
    let mut warm = 0;
    for step in 0..steps {
        let settings = Step { step, learning_rate: 1e-3, clip_norm: f32::INFINITY, ..Step::default() };
        session.submit(TRAIN, &inputs, &settings).unwrap();
        if step % 5 == 0 {
            session.submit(EVAL, &inputs, &settings).unwrap();
        }
        while block_on(session.collect(2)).unwrap().is_some() {}
        if step == steps / 4 {
            warm = resident();
        }
    }
    [warm, resident()]
}

#[test]
fn memory_does_not_grow_from_step_to_step() {
    let adapters = block_on(gpu::adapters());
    assert!(
        !adapters.is_empty() || std::env::var_os("WGRAD_REQUIRE_GPU").is_none(),
        "WGRAD_REQUIRE_GPU is set, but there is no adapter"
    );
    let open = |adapter| Device::Gpu(Arc::new(block_on(Gpu::open(adapter)).expect("the adapter opens")));
    for device in [Device::Cpu].into_iter().chain(adapters.iter().map(open)) {
        let [warm, end] = train(&device, STEPS);
        println!(
            "{}: {:.1} MiB, at the end {:.1}",
            device.name(),
            warm as f64 / MIB as f64,
            end as f64 / MIB as f64
        );
        assert!(end < warm + 2 * MIB, "{}: {warm} bytes after a quarter, {end} at the end", device.name());
    }
}
