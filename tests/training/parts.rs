//! Parts of recipes: running averages, frozen parameters, parameter groups, schedules that look at losses.

use pollster::block_on;
use wgrad::optim::Ema;
use wgrad::train::weights::Tensors;

use crate::determinism::{EPOCH, interrupted, setup_of};
use crate::setup::{Outcome, Watch, devices};

/// Recipes that between them have every part whose state a checkpoint has to keep.
const RECIPES: [&str; 4] = [
    "optimizer = 'rmsprop'\nmomentum = 0.9\ncentered = true\nlr = 1e-3\nclip_value = 0.1\nema_decay = 0.8\n\
     ema_warmup = true\nschedule = 'reduce-on-plateau'\nplateau_patience = 0\nplateau_threshold = 0.9\n\
     freeze = ['0.*', '1.*']\nunfreeze_at = 1\nlayer_decay = 0.8\nno_decay_on_norms_and_biases = true",
    "optimizer = 'lion'\nlr = 1e-3\nema_decay = 0.9\nschedule = 'warm-restarts'\nt_0 = 3\nt_mult = 2\n\
     [[group]]\npattern = '*.bias'\nlr_factor = 2.0\nweight_decay = 0.1",
    "optimizer = 'muon'\nlr = 0.01\nmuon_first_and_last = true\nfreeze = ['0.*', '1.*']\nunfreeze_at = 1",
    "optimizer = 'lamb'\nlr = 0.01\nclip_adaptive = 0.05\nno_decay_on_norms_and_biases = true",
];

#[test]
fn runs_with_every_part_resume_to_the_same_bits() {
    for recipe in RECIPES {
        let setup = setup_of(recipe);
        for device in devices() {
            let whole = setup.train(&device);
            assert!(whole.losses.last() < whole.losses.first(), "{:?}", whole.losses);
            for step in [3, EPOCH - 1, EPOCH] {
                let resumed = interrupted(&setup, &device, step);
                let what = format!("{}, stopped after {step}: {recipe}", device.name());
                assert_eq!(whole.difference(&resumed), None, "{what}");
            }
        }
    }
}

/// The model and its averages after each of some steps.
fn after(steps: u32, recipe: &str, device: &wgrad::train::Device) -> Outcome {
    let mut setup = setup_of(recipe);
    setup.recipe.length = wgrad::train::Length::Steps(steps);
    setup.train(device)
}

#[test]
fn averages_are_those_of_the_weights_of_all_steps() {
    let ema = Ema { decay: 0.6, warmup: true };
    let recipe = "optimizer = 'adamw'\nlr = 0.01\nema_decay = 0.6\nema_warmup = true";
    for device in devices() {
        let mut expected: Vec<Vec<f64>> = vec![];
        for step in 1..=5 {
            let outcome = after(step, recipe, &device);
            let share = ema.share(u64::from(step));
            let model =
                outcome.model.values().map(|tensor| tensor.data.iter().map(|x| f64::from(*x)).collect());
            let model: Vec<Vec<f64>> = model.collect();
            if step == 1 {
                expected.clone_from(&model);
            }
            for (average, values) in expected.iter_mut().flatten().zip(model.iter().flatten()) {
                *average += share * (values - *average);
            }
            let got = outcome.averages.expect("the recipe asks for averages");
            assert!(got.keys().eq(outcome.model.keys()));
            for ((name, got), expected) in got.iter().zip(&expected) {
                for (got, expected) in got.data.iter().zip(expected) {
                    let close = (f64::from(*got) - expected).abs() <= 1e-6 * (1.0 + expected.abs());
                    assert!(close, "{} on {}, step {step}: {got}, not {expected}", name, device.name());
                }
            }
        }
    }
}

#[test]
fn averages_are_evaluated_and_leave_the_weights_alone() {
    for device in devices() {
        let setup = setup_of("optimizer = 'sgd'\nlr = 0.1\nema_decay = 0.9");
        let mut trainer = setup.trainer(&device);
        let watch = &mut Watch::default();
        let raw = block_on(trainer.train(watch, &std::sync::atomic::AtomicBool::new(false))).unwrap();
        let before = block_on(trainer.model()).unwrap();
        let averaged = block_on(trainer.evaluate_averages()).unwrap().expect("averages are kept");
        assert_ne!(raw.evaluation.loss, averaged.loss);
        assert_eq!(before, block_on(trainer.model()).unwrap());
        let averages = block_on(trainer.averages()).unwrap().unwrap();
        trainer.set_model(&averages);
        let again = block_on(trainer.evaluate()).unwrap();
        assert_eq!(again, averaged, "{}", device.name());
    }
}

/// Which tensors differ.
fn changed(before: &Tensors, after: &Tensors) -> Vec<String> {
    let pairs = before.iter().zip(after.values());
    pairs.filter(|((_, a), b)| a != b).map(|((name, _), _)| name.clone()).collect()
}

#[test]
fn what_is_frozen_stays_as_it_is_until_it_is_thawed() {
    let recipe =
        "optimizer = 'adamw'\nlr = 0.01\nweight_decay = 0.1\nfreeze = ['0.*', '1.*']\nunfreeze_at = 1";
    for device in devices() {
        let initial = setup_of(recipe).trainer(&device).initial().unwrap();
        let frozen = after(EPOCH as u32, recipe, &device);
        let names = changed(&initial, &frozen.model);
        assert!(
            !names.is_empty() && names.iter().all(|name| !name.starts_with("0.") && !name.starts_with("1.")),
            "{names:?}"
        );
        // Also the running statistics of the batch norm, which is the second layer.
        assert!(initial.contains_key("1.running_mean"));
        let thawed = after(EPOCH as u32 + 2, recipe, &device);
        assert_eq!(changed(&initial, &thawed.model).len(), initial.len(), "{}", device.name());
    }
}

#[test]
fn what_is_frozen_after_an_epoch_was_trained_before() {
    let recipe =
        "optimizer = 'adamw'\nlr = 0.01\nweight_decay = 0.1\n[[group]]\npattern = '0.*'\nfreeze_after = 1";
    for device in devices() {
        let initial = setup_of(recipe).trainer(&device).initial().unwrap();
        let trained = after(EPOCH as u32, recipe, &device);
        assert_eq!(changed(&initial, &trained.model).len(), initial.len(), "{}", device.name());
        let frozen = after(EPOCH as u32 + 2, recipe, &device);
        let names = changed(&trained.model, &frozen.model);
        assert_eq!(names.len() + 1, initial.len(), "{names:?}");
        assert!(!names.contains(&"0.weight".to_string()), "{}", device.name());
    }
}
