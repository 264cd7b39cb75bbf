//! Weights larger than what a device binds at once: the same bits as in one piece, through all that a run does with them.

use std::sync::Arc;

use pollster::block_on;
use wgrad::gpu::{self, Gpu};
use wgrad::models::ModelSpec;
use wgrad::train::{Device, Settings, Trainer};

use super::determinism::interrupted;
use super::setup::{Setup, gpus};

/// What a small device is taken to bind at once, in bytes: 32,768 elements.
const LIMIT: u64 = 128 << 10;

/// Weights of 40,960 elements in parts of 512 rows and 128, and of 64,000 in parts of 48 rows, 48 and 4.
const MODEL: &str = r#"
layers = [
  "flatten", { linear = { out_features = 640 } }, "relu", { linear = { out_features = 100 } }, "gelu",
  { linear = { out_features = "classes" } },
]
"#;

fn setup(recipe: &str) -> Setup {
    let mut setup = Setup::of_flags(&format!("data = 'digits'\nbatch_size = 16\nmax_steps = 9\n{recipe}"));
    setup.model = ModelSpec::parse("wide", MODEL).unwrap().bind([1, 8, 8], 10).unwrap();
    setup
}

/// The adapters again, as if they bound no more than [`LIMIT`].
fn small() -> impl Iterator<Item = (Device, Device)> {
    gpus().into_iter().zip(block_on(gpu::adapters())).map(|(device, adapter)| {
        let mut small = block_on(Gpu::open(&adapter)).expect("the adapter opens");
        small.capabilities.max_storage_binding = LIMIT;
        (device, Device::Gpu(Arc::new(small)))
    })
}

#[test]
fn a_run_has_the_bits_of_one_in_one_piece() {
    let recipes = [
        "optimizer = 'sgd'\nmomentum = 0.9",
        "optimizer = 'adamw'\nweight_decay = 0.1\nema_decay = 0.9\nclip_adaptive = 0.02",
        "optimizer = 'adamw'\nmicro_batch_size = 8",
        "precision = 'f16'",
    ];
    for (device, small) in small() {
        for recipe in recipes {
            let setup = setup(recipe);
            let whole = setup.train(&device);
            let samples = [&device, &small].map(|device| setup.trainer(device).micro_batch_size());
            assert_eq!(samples[0], samples[1], "{recipe}: a small device does it in other pieces");
            assert_eq!(whole.difference(&setup.train(&small)), None, "{recipe} on {}", device.name());
        }
        let setup = setup(recipes[1]);
        let difference = setup.train(&device).difference(&interrupted(&setup, &small, 3));
        assert_eq!(difference, None, "resumed on {}", device.name());
    }
}

#[test]
fn what_needs_a_weight_whole_is_refused() {
    for (_, small) in small() {
        for optimizer in ["lamb", "muon"] {
            let setup = setup(&format!("optimizer = '{optimizer}'\nweight_decay = 0.1"));
            let settings = Settings::of(&setup.recipe, setup.recipe.batch_size);
            let trainer = Trainer::new(&setup.model, &setup.data, None, settings, &small);
            let error = block_on(trainer).err().expect("is refused").to_string();
            assert!(error.contains("scale_by_norm") && error.contains("--device cpu"), "{error}");
        }
    }
}
