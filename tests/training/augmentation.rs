//! Training on augmented and mixed samples: the same on every device and by every way, and when a run is resumed.

use pollster::block_on;
use std::sync::atomic::AtomicBool;
use wgrad::augment::{Augmentation, Crop, Mixing};
use wgrad::error::Error;
use wgrad::models::ModelSpec;
use wgrad::train::program::Task;
use wgrad::train::recipe::Precision;
use wgrad::train::{Device, Feed, Placement, Settings, TrainFeed, Trainer};

use super::determinism::interrupted;
use super::setup::{Setup, Watch, devices};

/// Everything that can be done to a sample; the digits have 11 batches of 128 an epoch.
const ALL: &str = r#"
data = "digits"
batch_size = 128
max_steps = 13
optimizer = "adamw"
lr = 0.01
label_smoothing = 0.1
[augment]
crop_padding = 1
padding_mode = "reflect"
alternating_flip = true
vertical_flip = 0.2
degrees = 10
translate = [0.1, 0.1]
scale = [0.9, 1.1]
shear = 5
auto_augment = "trivial-augment-wide"
brightness = 0.3
contrast = 0.3
saturation = 0.3
hue = 0.1
greyscale = 0.2
erasing = 0.3
cutout = 3
mixup_alpha = 0.4
cutmix_alpha = 1.0
mixup_prob = 0.8
"#;

const MODEL: &str = r#"
layers = [
  { conv2d = { out_channels = 6, kernel_size = 3, padding = 1 } }, { group_norm = { num_groups = 2 } }, "relu",
  { max_pool2d = { kernel_size = 2 } }, "flatten", { dropout = { p = 0.2 } }, { linear = { out_features = "classes" } },
]
"#;

fn setup(text: &str) -> Setup {
    let mut setup = Setup::of_flags(text);
    setup.model = ModelSpec::parse("small", MODEL).unwrap().bind([1, 8, 8], 10).unwrap();
    setup
}

#[test]
fn a_resumed_run_draws_what_an_uninterrupted_one_would() {
    let setup = setup(ALL);
    for device in devices() {
        let whole = setup.train(&device);
        assert!(whole.losses.iter().all(|loss| loss.is_finite()), "{:?}", whole.losses);
        // In the middle of the first epoch, and in the second.
        for step in [4, 11] {
            let resumed = interrupted(&setup, &device, step);
            assert_eq!(whole.difference(&resumed), None, "{}, stopped after {step}", device.name());
        }
    }
}

fn losses(setup: &Setup, device: &Device, change: impl Fn(&mut Settings)) -> Vec<f32> {
    let mut settings = Settings::of(&setup.recipe, setup.recipe.batch_size);
    change(&mut settings);
    let normalization = setup.normalization.clone();
    let mut trainer =
        block_on(Trainer::new(&setup.model, &setup.data, normalization, settings, device)).unwrap();
    let mut watch = Watch::default();
    block_on(trainer.train(&mut watch, &AtomicBool::new(false))).unwrap();
    watch.losses
}

/// Resident or streamed, whole or in micro-batches, here or there: the same samples.
#[test]
fn every_way_takes_the_same_samples() {
    let setup = setup(ALL);
    let plain = setup.train(&Device::Cpu).losses;
    for device in devices() {
        let whole = losses(&setup, &device, |_| ());
        let streamed = losses(&setup, &device, |settings| settings.placement = Placement::Streamed);
        assert_eq!(whole, streamed, "{}", device.name());
        let parts = losses(&setup, &device, |settings| settings.micro_batch_size = Some(32));
        for (step, other) in parts.iter().chain(&whole).enumerate() {
            let want = plain[step % plain.len()];
            assert!((other - want).abs() < 2e-3 * want, "{}, step {step}: {other} {want}", device.name());
        }
        // The first step's images and weights are the same; only sums are rounded otherwise.
        assert!(
            (whole[0] - plain[0]).abs() < 1e-5 * plain[0],
            "{}: {} {}",
            device.name(),
            whole[0],
            plain[0]
        );
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let setup = setup(ALL);
    let task = Task {
        image: [1, 8, 8],
        classes: 10,
        batch_size: 8,
        label_smoothing: 0.0,
        precision: Precision::F32,
    };
    let refused = |augmentation, mixing, task: &Task| {
        let feed = TrainFeed::new(Feed::Given, (augmentation, mixing), &setup.data.train, task, 0);
        let error = feed.unwrap_err();
        assert!(matches!(error, Error::Recipe(_)), "{error:?}");
        error.to_string()
    };
    let mixing = Mixing { mixup_alpha: 1.0, cutmix_alpha: 0.0, mixup_prob: 1.0, switch_prob: 0.5 };
    let one = refused(Augmentation::NONE, mixing, &Task { classes: 1, ..task });
    assert!(one.ends_with("mix samples of different classes; there is 1 class"), "{one}");
    let alone = refused(Augmentation::NONE, mixing, &Task { batch_size: 1, ..task });
    assert!(alone.ends_with("there is 1 sample in a batch"), "{alone}");
    let none = Mixing::default();
    let far = Augmentation { crop: Crop::Padded { padding: 8, reflect: true }, ..Augmentation::NONE };
    assert!(refused(far, none, &task).contains("must be less than the image's 8 pixels"));
    let large = Augmentation { cutout: 9, ..Augmentation::NONE };
    assert_eq!(refused(large, none, &task), "--cutout is 9; the images are 8x8");
    let error = Trainer::new(
        &setup.model,
        &setup.data,
        None,
        Settings { micro_batch_size: Some(1), ..Settings::of(&setup.recipe, 128) },
        &Device::Cpu,
    );
    let error = block_on(error).err().unwrap().to_string();
    assert!(
        error.contains("divide the batch size 128 and be even, for samples are mixed in pairs: 2, 4"),
        "{error}"
    );
}
