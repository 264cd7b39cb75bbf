//! `wgrad train`: what it prints, what it leaves in the run folder, what its flags do.

use serde_json::Value;

use crate::Place;
use crate::files::{TINY, write_pets, write_tiny};

#[test]
fn digits_leave_a_complete_run_folder() {
    let place = Place::new();
    let ran = place.ok("train --device cpu --max-steps 30 --log-every 7 --out runs/a");
    assert_eq!(ran.err, "");
    for part in [
        "1438 training and 359 test images of 1x8x8, 10 classes",
        "Optical Recognition of Handwritten Digits",
        "digits-cnn",
        "30 steps of 64 images, seed 0",
        "epoch 1/2  train loss",
        "epoch 2/2  train loss",
        "precision %",
        "test accuracy",
        "of 359 images",
        "saved in runs/a",
    ] {
        assert!(ran.out.contains(part), "{part:?} is not in: {}", ran.out);
    }
    let names: Vec<String> = place.contents("runs/a").into_iter().map(|(name, _)| name).collect();
    let expected = [
        "checkpoint.previous.safetensors",
        "checkpoint.safetensors",
        "metrics.csv",
        "metrics.jsonl",
        "model.safetensors",
        "model.toml",
        "recipe.toml",
        "report.html",
    ];
    assert_eq!(names, expected);
    check_metrics(&place.text("runs/a/metrics.jsonl"), 30, 22, 7);

    // The resolved recipe trains the same again.
    place.ok("train runs/a/recipe.toml --out runs/b");
    place.same_bits("runs/a", "runs/b");
    assert_eq!(place.text("runs/a/recipe.toml"), place.text("runs/b/recipe.toml"));
}

/// The fields of every line and their ranges.
fn check_metrics(text: &str, steps: u64, steps_per_epoch: u64, log_every: u64) {
    let mut logged = vec![];
    let mut epochs = 0;
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let names: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        let number = |name: &str| line[name].as_f64().unwrap();
        if let Some(step) = line["step"].as_u64() {
            let mut expected = ["step", "epoch", "loss", "lr", "grad_norm", "img_per_s"];
            expected.sort_unstable();
            assert_eq!(names, expected);
            assert_eq!(line["epoch"].as_u64(), Some((step - 1) / steps_per_epoch + 1));
            assert!(number("loss") > 0.0 && number("lr") > 0.0 && number("grad_norm") > 0.0);
            assert!(number("img_per_s") > 0.0);
            logged.push(step);
        } else {
            assert_eq!(
                names,
                [
                    "epoch",
                    "img_per_s",
                    "test_accuracy",
                    "test_ece",
                    "test_loss",
                    "test_macro_f1",
                    "test_top5_accuracy",
                    "train_accuracy",
                    "train_loss"
                ]
            );
            epochs += 1;
            assert_eq!(line["epoch"].as_u64(), Some(epochs));
            assert!((0.0..=1.0).contains(&number("train_accuracy")));
            assert!((0.0..=1.0).contains(&number("test_accuracy")));
            // A line of an epoch comes after those of its steps.
            assert!(logged.last().is_none_or(|step| *step <= epochs * steps_per_epoch));
        }
    }
    assert_eq!(logged, (1..=steps).filter(|step| step % log_every == 0).collect::<Vec<u64>>());
    assert_eq!(epochs, steps.div_ceil(steps_per_epoch));
}

#[test]
fn quiet_prints_nothing() {
    let place = Place::new();
    write_tiny(&place);
    let ran = place.ok(&format!("train {TINY} --epochs 2 --quiet --out a"));
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    let resumed = place.ok("resume a");
    assert_eq!((resumed.out.as_str(), resumed.err.as_str()), ("", ""));
}

#[test]
fn a_seed_decides_every_bit() {
    let place = Place::new();
    write_tiny(&place);
    let train = format!("train {TINY} --optimizer adam --epochs 2 --log-every 1");
    for (out, seed) in [("a", 3), ("b", 3), ("c", 4)] {
        place.ok(&format!("{train} --seed {seed} --out {out}"));
    }
    place.same_bits("a", "b");
    assert_ne!(place.read("a/model.safetensors"), place.read("c/model.safetensors"));
    assert_ne!(place.metrics("a"), place.metrics("c"));
}

#[test]
fn numbered_folders_are_made_without_out() {
    let place = Place::new();
    write_tiny(&place);
    for number in 1..=2 {
        let ran = place.ok(&format!("train {TINY} --max-steps 1"));
        assert!(ran.out.contains(&format!("saved in runs/net-{number}")), "{}", ran.out);
    }
    place.fails(
        &format!("train {TINY} --max-steps 1 --out runs/net-1"),
        1,
        &["already holds a run", "wgrad resume"],
    );
}

#[test]
fn flags_override_the_recipe() {
    let place = Place::new();
    write_tiny(&place);
    place.write(
        "recipe.toml",
        "data = \"tensors:tiny.safetensors\"\nmodel = \"net.toml\"\nbatch_size = 10\noptimizer = \"adamw\"\n\
         schedule = \"cosine\"\nmin_lr = 1e-5\nlr = 0.5\nepochs = 100\ndevice = \"cpu\"\nshuffle = false",
    );
    place.ok("train --lr 0.25 --max-steps 3 --schedule constant --no-normalize recipe.toml --out a");
    let recipe: toml::Table = place.text("a/recipe.toml").parse().unwrap();
    let has = |name: &str, value: toml::Value| assert_eq!(recipe.get(name), Some(&value), "{name}");
    has("lr", 0.25.into());
    has("max_steps", 3.into());
    has("batch_size", 10.into());
    has("schedule", "constant".into());
    has("shuffle", false.into());
    has("normalize", false.into());
    has("optimizer", "adamw".into());
    assert!(!recipe.contains_key("min_lr") && !recipe.contains_key("epochs") && !recipe.contains_key("out"));
}

#[test]
fn order_and_normalisation_make_a_difference() {
    let place = Place::new();
    write_tiny(&place);
    let models = ["", "--no-shuffle", "--no-normalize"].map(|flag| {
        let out = format!("run{flag}");
        place.ok(&format!("train {TINY} --epochs 1 {flag} --out {out}"));
        place.read(format!("{out}/checkpoint.safetensors"))
    });
    assert!(models[0] != models[1] && models[0] != models[2] && models[1] != models[2]);
}

/// Every optimizer and every schedule with all its flags; and the rates that the schedule must have.
#[test]
fn optimizers_and_schedules_run() {
    let cases: &[(&str, &[f64])] = &[
        ("--optimizer sgd --lr 0.1", &[0.1; 6]),
        ("--optimizer sgd --momentum 0.9 --nesterov --weight-decay 0.01 --lr 0.1", &[0.1; 6]),
        ("--optimizer sgd --momentum 0.9 --dampening 0.5 --clip-norm 0.5 --lr 0.1", &[0.1; 6]),
        ("--optimizer adam --betas 0.8,0.99 --eps 1e-6 --weight-decay 0.01 --lr 0.01", &[0.01; 6]),
        ("--optimizer adamw --label-smoothing 0.1 --lr 0.01", &[0.01; 6]),
        ("--schedule step --step-size 2 --gamma 0.5 --lr 0.4", &[0.4, 0.4, 0.2, 0.2, 0.1, 0.1]),
        ("--schedule multi-step --milestones 1,4 --lr 1", &[1.0, 0.1, 0.1, 0.1, 0.01, 0.01]),
        ("--schedule exponential --gamma 0.5 --lr 1", &[1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
        ("--schedule cosine --min-lr 0.1 --lr 0.3", &[0.3, 0.286603, 0.25, 0.2, 0.15, 0.113397]),
        (
            "--schedule one-cycle --pct-start 0.5 --div-factor 10 --final-div-factor 10 --lr 1",
            &[0.1, 0.55, 1.0],
        ),
        ("--schedule constant --warmup-steps 2 --lr 0.2", &[]),
    ];
    let place = Place::new();
    write_tiny(&place);
    for (number, (flags, rates)) in cases.iter().enumerate() {
        place.ok(&format!("train {TINY} --max-steps 6 --log-every 1 {flags} --out {number}"));
        let lines = place.metrics(&number.to_string());
        let got: Vec<f64> = lines
            .iter()
            .filter(|line| line["step"].is_u64())
            .map(|line| line["lr"].as_f64().unwrap())
            .collect();
        assert_eq!(got.len(), 6, "{flags}");
        for (got, want) in got.iter().zip(*rates) {
            assert!((got - want).abs() < 1e-6, "{flags}: {got} is not {want}");
        }
    }
}

#[test]
fn a_batch_larger_than_the_data_set_is_clamped() {
    let place = Place::new();
    write_tiny(&place);
    let ran = place.ok("train --data tensors:tiny.safetensors --model net.toml --batch-size 500 --max-steps 2 --device cpu --out a");
    ran.remarks(&["warning: --batch-size is 500", "there are 50 training images: 50 is used"]);
    assert!(place.text("a/recipe.toml").contains("batch_size = 50"));
}

#[test]
fn folders_of_images_are_split_and_learned() {
    let place = Place::new();
    write_pets(&place);
    place.write("net.toml", crate::files::DROPOUT_NET);
    let ran =
        place.ok("train --data folder:pets --model net.toml --batch-size 8 --epochs 2 --device cpu --out a");
    assert!(ran.out.contains("16 training and 4 test images of 1x6x8, 2 classes"), "{}", ran.out);
    assert!(ran.out.contains("cat") && ran.out.contains("dog"));
}
