//! The fast recipe for CIFAR-10, on images of its format: what is frozen, and that it resumes to the same bits.

use std::path::Path;

use wgrad::train::recipe::Recipe;

use super::determinism::interrupted;
use super::setup::{Setup, devices};

/// Twenty training images and four others, of patterns that differ by class.
fn write_cifar10(folder: &Path) {
    let image = |number: u32| {
        let label = number % 10;
        let pixels = (0..3072_u32).map(move |at| {
            let (plane, y, x) = (at / 1024, at / 32 % 32, at % 32);
            ((x * (label + 1) + y * (plane + 2) + number * 37 + x * y * label) % 256) as u8
        });
        std::iter::once(label as u8).chain(pixels).collect::<Vec<u8>>()
    };
    for batch in 0..5 {
        let records: Vec<u8> = (batch * 4..batch * 4 + 4).flat_map(image).collect();
        std::fs::write(folder.join(format!("data_batch_{}.bin", batch + 1)), records).unwrap();
    }
    std::fs::write(folder.join("test_batch.bin"), (20..24).flat_map(image).collect::<Vec<u8>>()).unwrap();
}

#[test]
fn the_fast_recipe_for_cifar10_trains_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    write_cifar10(folder.path());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/cifar10-fast.toml");
    // Four steps an epoch; so few images bear only a low rate.
    let flags =
        format!("data = 'cifar10:{}'\nbatch_size = 5\nmax_steps = 14\nlr = 0.05", folder.path().display());
    let setup = Setup::of_recipe(&flags, Some(Recipe::load(&path).unwrap()));
    for device in devices() {
        let initial = setup.trainer(&device).initial().unwrap();
        let whole = setup.train(&device);
        assert!(whole.losses.iter().all(|loss| loss.is_finite()), "{:?}", whole.losses);
        assert!(whole.losses.last() < whole.losses.first(), "{:?}", whole.losses);
        assert_eq!(initial["whiten.weight"], whole.model["whiten.weight"]);
        for name in ["whiten.bias", "group1.norm1.bias", "group3.conv2.weight", "head.weight"] {
            assert_ne!(initial[name], whole.model[name], "{name}");
        }
        // In the first epoch, and where the bias of the first layer is no longer trained.
        for step in [2, 12] {
            let resumed = interrupted(&setup, &device, step);
            assert_eq!(whole.difference(&resumed), None, "{}, stopped after {step}", device.name());
        }
    }
}
