//! All parts of recipes in one run: it resumes to the bits of the uninterrupted one, on every device.

use wgrad::models::ModelSpec;

use super::determinism::interrupted;
use super::setup::{Setup, devices};

/// Eleven steps an epoch: a layer is thawed and another one frozen after the first.
const ALL: &str = r#"
data = "digits"
batch_size = 128
micro_batch_size = 64
max_steps = 14
lr = 0.01
weight_decay = 0.1
label_smoothing = 0.1
clip_norm = 2.0
clip_value = 0.5
clip_adaptive = 0.2
ema_decay = 0.9
ema_warmup = true
precision = "f16"
recompute = "always"
eval_every = 4
tta = "flip-translate"
no_decay_on_norms_and_biases = true
layer_decay = 0.9
freeze = ["2.*", "3.*"]
unfreeze_at = 1
[[group]]
pattern = "whiten.bias"
freeze_after = 1
[[group]]
pattern = "*.weight"
lr_factor = 0.5
[augment]
crop_padding = 1
padding_mode = "reflect"
alternating_flip = true
degrees = 10
scale = [0.9, 1.1]
auto_augment = "rand-augment"
brightness = 0.3
erasing = 0.3
cutout = 3
mixup_alpha = 0.4
cutmix_alpha = 1.0
mixup_prob = 0.8
"#;

/// What differs: the optimizers with several stages, and schedules of both kinds.
const RECIPES: [&str; 2] = [
    "optimizer = 'muon'\nmuon_first_and_last = true\nschedule = 'cosine'\nwarmup_steps = 3",
    "optimizer = 'lamb'\nschedule = 'reduce-on-plateau'\nplateau_patience = 0\nplateau_threshold = 0.9",
];

const MODEL: &str = r#"
layers = [
  { name = "whiten", conv2d = { out_channels = 8, kernel_size = 2, init = "whitening" } }, "gelu",
  { conv2d = { out_channels = 8, kernel_size = 3, padding = 1, bias = false, init = "dirac" } },
  { batch_norm = { weight = false } }, "relu",
  { residual = { body = [
    { conv2d = { out_channels = 8, kernel_size = 3, padding = 1, bias = false } }, "batch_norm", { drop_path = { p = 0.3 } },
  ] } }, "relu", { dropout2d = { p = 0.1 } },
  { max_pool2d = { kernel_size = 2 } }, "flatten", { dropout = { p = 0.2 } }, { linear = { out_features = "classes" } },
]
"#;

#[test]
fn a_run_with_everything_resumes_to_the_same_bits() {
    for recipe in RECIPES {
        let mut setup = Setup::of_flags(&format!("{recipe}\n{ALL}"));
        setup.model = ModelSpec::parse("everything", MODEL).unwrap().bind([1, 8, 8], 10).unwrap();
        for device in devices() {
            let whole = setup.train(&device);
            assert!(whole.losses.len() == 14 && whole.losses.iter().all(|loss| loss.is_finite()));
            for step in [5, 11] {
                let resumed = interrupted(&setup, &device, step);
                let what = format!("{}, stopped after {step}: {recipe}", device.name());
                assert_eq!(whole.difference(&resumed), None, "{what}");
            }
        }
    }
}
