//! Real MNIST: one epoch of `seed-cnn`, against ten runs of PyTorch (`scripts/mnist_reference.py`).

use std::path::{Path, PathBuf};
use std::time::Instant;

use pollster::block_on;
use serde::Deserialize;
use wgrad::train::{Device, DeviceChoice};

use super::setup::Setup;

#[derive(Deserialize)]
struct Reference {
    normalised: Accuracies,
}

#[derive(Deserialize)]
struct Accuracies {
    mean: f64,
    std: f64,
}

/// The folder of MNIST: `WGRAD_MNIST`, or where this project keeps it.
fn folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/datasets/mnist");
    let given = std::env::var_os("WGRAD_MNIST");
    let folder = given.map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: there is no MNIST in {}; set WGRAD_MNIST to its folder", folder.display());
    None
}

/// One epoch with seed 0 ends within three standard deviations of PyTorch's mean.
fn check(device: &Device) {
    let Some(folder) = folder() else { return };
    let flags = "model = 'seed-cnn'\nepochs = 1\nbatch_size = 64\nlr = 0.05";
    let setup = Setup::of_flags(&format!("data = 'mnist:{}'\n{flags}", folder.display()));
    let began = Instant::now();
    let accuracy = setup.train(device).evaluation.accuracy;
    println!("MNIST on {}: {accuracy:.4} in {:.0} s", device.name(), began.elapsed().as_secs_f64());
    let text = include_str!("../goldens/mnist_reference.json");
    let Accuracies { mean, std } = serde_json::from_str::<Reference>(text).unwrap().normalised;
    let close = (accuracy - mean).abs() <= 3.0 * std;
    assert!(close, "{}: {accuracy}, PyTorch {mean} +- {std}", device.name());
}

#[test]
fn an_epoch_on_the_cpu_is_as_good_as_pytorchs() {
    check(&Device::Cpu);
}

#[test]
fn an_epoch_on_the_gpu_is_as_good_as_pytorchs() {
    match block_on(Device::open(&DeviceChoice::Gpu)) {
        Ok(device) => check(&device),
        Err(error) => {
            assert!(std::env::var_os("WGRAD_REQUIRE_GPU").is_none(), "WGRAD_REQUIRE_GPU is set, but {error}");
            eprintln!("SKIPPED: {error}; MNIST was not trained on a GPU");
        }
    }
}
