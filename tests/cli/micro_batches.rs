//! Steps that take in their batch piece by piece: because they are told to, or because it does not fit.

use std::time::{Duration, Instant};

use crate::Place;
use crate::files::{TINY, write_tiny};

/// `TINY` on the CPU and, if there is one, on a GPU.
fn lines(place: &Place) -> Vec<String> {
    let devices = place.ok("devices --json").json().as_array().unwrap().len();
    let gpu = (devices > 1).then(|| TINY.replace("--device cpu", "--device gpu"));
    [TINY.to_string()].into_iter().chain(gpu).collect()
}

#[test]
fn killed_runs_in_micro_batches_continue_to_the_same_bits() {
    let place = Place::new();
    write_tiny(&place);
    for (number, tiny) in lines(&place).iter().enumerate() {
        let line =
            format!("train {tiny} --micro-batch-size 4 --epochs 12 --checkpoint-every 2 --log-every 1");
        let (whole, killed) = (format!("whole-{number}"), format!("killed-{number}"));
        let ran = place.ok(&format!("{line} --out {whole}"));
        assert!(ran.out.contains("4 images at a time"), "{}", ran.out);
        assert!(place.text(format!("{whole}/recipe.toml")).contains("micro_batch_size = 4"));
        let mut child = place.start(&format!("{line} --out {killed}"));
        let metrics = place.path(format!("{killed}/metrics.jsonl"));
        let since = Instant::now();
        while std::fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 9 {
            assert!(child.try_wait().unwrap().is_none() && since.elapsed() < Duration::from_secs(120));
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        place.ok(&format!("resume {killed}"));
        place.same_bits(&whole, &killed);
    }
}

#[test]
fn a_step_that_does_not_fit_is_split_and_the_run_remembers_how() {
    let place = Place::new();
    let peak = |batch: u32| {
        let found = place.ok(&format!("inspect digits-cnn --batch-size {batch} --json")).json();
        found["peak_bytes"].as_u64().unwrap()
    };
    let limit = peak(32);
    assert!(limit < peak(64));
    let line = "train --device cpu --batch-size 64 --max-steps 2";
    let ran = place.ok(&format!("{line} --memory-limit {limit} --out split"));
    assert!(ran.out.contains("images at a time"), "{}", ran.out);
    let recipe = place.text("split/recipe.toml");
    let size: u32 = recipe
        .lines()
        .find_map(|line| line.strip_prefix("micro_batch_size = "))
        .expect("the recipe has it")
        .parse()
        .unwrap();
    assert!(size < 64 && 64 % size == 0, "{size}");
    // With room for all, nothing is split.
    let ran = place.ok(&format!("{line} --memory-limit 1GiB --out whole"));
    assert!(!ran.out.contains("at a time"), "{}", ran.out);
    assert!(!place.text("whole/recipe.toml").contains("micro_batch_size"));
    place.fails(&format!("{line} --memory-limit 1KiB"), 1, &["--memory-limit", "not enough memory"]);
}

#[test]
fn sizes_that_do_not_divide_the_batch_are_refused() {
    let place = Place::new();
    write_tiny(&place);
    place.fails(
        &format!("train {TINY} --micro-batch-size 5"),
        2,
        &["--micro-batch-size is 5", "must divide the batch size 16: 1, 2, 4, 8, 16"],
    );
    place.fails(&format!("train {TINY} --micro-batch-size 0"), 2, &["--micro-batch-size", "at least 1"]);
    place.fails(&format!("train {TINY} --memory-limit lots"), 2, &["--memory-limit", "512MiB"]);
}
