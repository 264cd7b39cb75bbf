//! The same seed gives the same bits: run after run, with any number of threads, and when a run is resumed.

use std::sync::atomic::AtomicBool;

use pollster::block_on;
use wgrad::error::Error;
use wgrad::models::ModelSpec;
use wgrad::train::{Checkpoint, Device, Run};

use super::setup::{Outcome, Setup, Watch, devices};

/// Steps of an epoch of [`setup`].
pub const EPOCH: u64 = 11;

const MODEL: &str = r#"
layers = [
  { conv2d = { out_channels = 6, kernel_size = 3, padding = 1, bias = false } }, "batch_norm", "relu",
  { max_pool2d = { kernel_size = 2 } },
  { conv2d = { out_channels = 10, kernel_size = 3 } }, { group_norm = { num_groups = 2 } }, "gelu",
  "flatten", { dropout = { p = 0.5 } }, { linear = { out_features = "classes" } },
]
"#;

/// Over an epoch's end, with running statistics, dropout, clipping and a changing rate.
fn setup(seed: u64) -> Setup {
    setup_of(&format!("optimizer = 'adamw'\nschedule = 'cosine'\nclip_norm = 1.0\nseed = {seed}"))
}

/// The same run with another recipe.
pub fn setup_of(recipe: &str) -> Setup {
    let text = "data = 'digits'\nbatch_size = 128\nmax_steps = 14";
    let mut setup = Setup::of_flags(&format!("{text}\n{recipe}"));
    setup.model = ModelSpec::parse("small", MODEL).unwrap().bind([1, 8, 8], 10).unwrap();
    assert_eq!((setup.data.train.len() / setup.recipe.batch_size) as u64, EPOCH);
    setup
}

#[test]
fn a_seed_gives_the_same_bits_again() {
    let setup = setup(3);
    for device in devices() {
        let [first, second] = [(); 2].map(|()| setup.train(&device));
        assert_eq!(first.difference(&second), None, "{}", device.name());
        assert!(first.losses.len() == 14 && first.losses.iter().all(|loss| loss.is_finite()));
    }
    let other = self::setup(4).train(&Device::Cpu);
    assert!(other.difference(&setup.train(&Device::Cpu)).is_some(), "another seed gives the same");
}

#[test]
fn the_cpu_path_gives_the_same_bits_with_any_number_of_threads() {
    let wide = Setup::of_flags("max_steps = 5");
    for setup in [setup(3), wide] {
        let with_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| setup.train(&Device::Cpu))
        };
        let one = with_threads(1);
        for threads in [2, 3, 8] {
            let difference = one.difference(&with_threads(threads));
            assert_eq!(difference, None, "{}, {threads} threads", setup.model.name());
        }
    }
}

/// A run that is stopped after `step` (and those in flight) and then continued by a new trainer.
pub fn interrupted(setup: &Setup, device: &Device, step: u64) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::create(&folder.path().join("run")).unwrap();
    let stop = AtomicBool::new(false);
    let mut watch = Watch { stop_after: Some((step, &stop)), ..Watch::default() };
    let mut trainer = setup.trainer(device);
    block_on(trainer.record_in(run.clone())).unwrap();
    let error = block_on(trainer.train(&mut watch, &stop)).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    drop(trainer);

    let slots = setup.recipe.algorithm.update().slots();
    let (checkpoint, passed_over) = Checkpoint::read(&run.path, slots).unwrap();
    assert_eq!((checkpoint.progress.step, passed_over), (watch.losses.len() as u64, None));
    let mut trainer = setup.trainer(device);
    trainer.restore(&checkpoint, &run).unwrap();
    block_on(trainer.record_in(run)).unwrap();
    watch.stop_after = None;
    let evaluation = block_on(trainer.train(&mut watch, &AtomicBool::new(false))).unwrap().evaluation;
    Outcome::of(watch.losses, &mut trainer, evaluation)
}

#[test]
fn a_resumed_run_has_the_bits_of_an_uninterrupted_one() {
    let setup = setup(5);
    for device in devices() {
        let whole = setup.train(&device);
        // In the middle of the first epoch, with its last step, and in the second.
        for step in [3, EPOCH - 1, EPOCH] {
            let resumed = interrupted(&setup, &device, step);
            assert_eq!(whole.difference(&resumed), None, "{}, stopped after {step}", device.name());
        }
    }
}
