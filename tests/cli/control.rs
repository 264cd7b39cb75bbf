//! Evaluations within epochs, kept checkpoints, early ends, dry runs: what happens around the steps of a run.

use std::time::{Duration, Instant};

use crate::Place;
use crate::files::{TINY, write_tiny};

/// Names of the kept checkpoints.
fn kept(place: &Place, run: &str) -> Vec<String> {
    place.contents(&format!("{run}/checkpoints")).into_iter().map(|(name, _)| name).collect()
}

fn step(step: u64) -> String {
    format!("step-{step:08}.safetensors")
}

/// Steps and accuracies of all evaluations, in order; epochs have 3 steps.
fn evaluations(place: &Place, run: &str) -> Vec<(u64, f64)> {
    let lines = place.metrics(run);
    let tested = lines.iter().filter(|line| line.get("test_accuracy").is_some());
    let step = |line: &serde_json::Value| {
        line["step"].as_u64().unwrap_or_else(|| line["epoch"].as_u64().unwrap() * 3)
    };
    tested.map(|line| (step(line), line["test_accuracy"].as_f64().unwrap())).collect()
}

#[test]
fn the_best_and_the_last_checkpoints_are_kept() {
    let place = Place::new();
    write_tiny(&place);
    place.ok(&format!("train {TINY} --lr 0.1 --epochs 6 --keep-best 1 --keep-last 2 --out run"));
    let scores = evaluations(&place, "run");
    assert_eq!(scores.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [3, 6, 9, 12, 15, 18]);
    let top = scores.iter().map(|(_, accuracy)| *accuracy).fold(0.0, f64::max);
    let best = scores.iter().find(|(_, accuracy)| *accuracy == top).unwrap().0;
    let mut expected = vec![step(best), step(15), step(18)];
    expected.sort();
    expected.dedup();
    assert_eq!(kept(&place, "run"), expected);
    let last = place.read("run/checkpoint.safetensors");
    assert!(last == place.read(format!("run/checkpoints/{}", step(18))), "the last one is the checkpoint");

    for which in ["best".to_string(), best.to_string()] {
        let report = place.ok(&format!("eval run --device cpu --json --checkpoint {which}")).json();
        assert_eq!(report["test_accuracy"].as_f64(), Some(top), "{which}");
    }
    let report = place.ok("eval run --device cpu --json").json();
    assert_eq!(report["test_accuracy"].as_f64(), Some(scores[5].1));
    place.fails(
        "eval run --device cpu --checkpoint 4",
        1,
        &["no checkpoint of step 4", "15, 18", "--keep-last"],
    );
    place.fails("predict run x.png --checkpoint newest", 2, &["newest", "last, best or a number of steps"]);

    place.ok(&format!("train {TINY} --epochs 2 --keep-best 0 --out none"));
    assert!(!place.path("none/checkpoints").exists());
    place.fails("eval none --device cpu --checkpoint best", 1, &["no best checkpoint", "kept are none"]);
}

#[test]
fn evaluations_within_an_epoch_have_lines_and_count() {
    let place = Place::new();
    write_tiny(&place);
    let ran = place.ok(&format!("train {TINY} --max-steps 8 --eval-every 2 --log-every 1 --out run"));
    let steps: Vec<u64> = evaluations(&place, "run").into_iter().map(|(step, _)| step).collect();
    // Step 6 ends an epoch and is evaluated once; step 8 ends the run within one.
    assert_eq!(steps, [2, 3, 4, 6, 9]);
    assert!(ran.out.contains("epoch 1, step 2  test loss"), "{}", ran.out);
    // They change nothing.
    place.ok(&format!("train {TINY} --max-steps 8 --log-every 1 --out plain"));
    assert_eq!(place.read("run/model.safetensors"), place.read("plain/model.safetensors"));
}

#[test]
fn patience_ends_a_run_that_no_longer_improves() {
    let place = Place::new();
    write_tiny(&place);
    // Nothing improves so much.
    let line = format!("train {TINY} --epochs 9 --monitor test_loss --patience 2 --min-delta 100");
    let ran = place.ok(&format!("{line} --out run"));
    assert!(
        ran.out.contains("stopped at step 9: no improvement of test_loss in 2 evaluations"),
        "{}",
        ran.out
    );
    assert_eq!(evaluations(&place, "run").len(), 3);
    // A resumed run knows that it is over.
    let before = place.read("run/checkpoint.safetensors");
    let resumed = place.ok("resume run");
    assert!(resumed.out.contains("stopped at step 9"), "{}", resumed.out);
    assert!(before == place.read("run/checkpoint.safetensors"));
}

#[test]
fn kept_checkpoints_and_patience_survive_a_resume() {
    let place = Place::new();
    write_tiny(&place);
    let line = format!(
        "train {TINY} --lr 0.05 --epochs 30 --eval-every 2 --keep-best 3 --keep-last 2 --log-every 1"
    );
    place.ok(&format!("{line} --quiet --out whole"));
    let mut child = place.start(&format!("{line} --out killed"));
    let since = Instant::now();
    while place.path("killed/metrics.jsonl").metadata().map_or(0, |file| file.len()) < 4000 {
        assert!(child.try_wait().unwrap().is_none() && since.elapsed() < Duration::from_secs(60));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    place.ok("resume killed");
    place.same_bits("whole", "killed");
    assert_eq!(place.contents("whole/checkpoints"), place.contents("killed/checkpoints"));
}

#[test]
fn time_ends_a_run_that_can_go_on() {
    let place = Place::new();
    write_tiny(&place);
    let line = format!("train {TINY} --max-steps 7 --log-every 1");
    place.ok(&format!("{line} --out whole"));
    let ran = place.ok(&format!("{line} --max-time 1ns --out run"));
    assert!(
        ran.out.contains("stopped at step 1: --max-time is over; `wgrad resume run` goes on"),
        "{}",
        ran.out
    );
    for _ in 0..6 {
        place.ok("resume run");
    }
    place.same_bits("whole", "run");
    for time in ["0s", "soon", "-1h"] {
        place.fails(&format!("train {TINY} --max-time={time}"), 2, &["--max-time", time, "90s"]);
    }
}

#[test]
fn one_batch_is_learned_by_heart() {
    let place = Place::new();
    write_tiny(&place);
    let ran = place
        .ok(&format!("train {TINY} --overfit-one-batch --optimizer adam --lr 0.02 --epochs 60 --out run"));
    assert!(ran.out.contains("16 training and 16 test images"), "{}", ran.out);
    assert!(ran.out.contains("test accuracy 100.00 % (16 of 16 images)"), "{}", ran.out);
}

#[test]
fn a_dry_run_writes_nothing() {
    let place = Place::new();
    write_tiny(&place);
    let ran = place.ok(&format!("train {TINY} --dry-run --out run"));
    assert!(ran.out.contains("dry run: one step") && ran.out.contains("nothing was written"), "{}", ran.out);
    assert!(!place.path("run").exists() && !place.path("runs").exists());
    place.fails("train --dry-run --data folder:nowhere --model small-cnn", 1, &["nowhere"]);
}

#[test]
fn settings_out_of_range_are_refused() {
    let place = Place::new();
    for (flags, parts) in [
        ("--patience 0", ["--patience is 0", "at least 1"]),
        ("--eval-every 0", ["--eval-every is 0", "at least 1"]),
        ("--min-delta -1", ["--min-delta is -1", "at least 0"]),
        ("--monitor test_acuracy", ["test_acuracy", "test_accuracy"]),
    ] {
        place.fails(&format!("train {flags}"), 2, &parts);
    }
}

#[test]
fn evaluations_have_a_confusion_matrix_and_json() {
    let place = Place::new();
    write_tiny(&place);
    place.ok(&format!("train {TINY} --lr 0.1 --epochs 4 --out run"));
    let report = place.ok("eval run --device cpu --json").json();
    let confusion: Vec<Vec<u64>> = serde_json::from_value(report["confusion"].clone()).unwrap();
    let right: u64 = (0..3).map(|class| confusion[class][class]).sum();
    assert_eq!(confusion.iter().flatten().sum::<u64>(), 20);
    assert_eq!(report["test_accuracy"].as_f64(), Some(right as f64 / 20.0));
    assert_eq!(report["test_top5_accuracy"].as_f64(), Some(1.0));
    let ece = report["test_ece"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&ece), "{ece}");
    assert_eq!(report["classes"].as_array().unwrap().len(), 3);
    let table = place.ok("eval run --device cpu --confusion").out;
    assert!(table.contains("true \\ predicted") && table.contains("calibration error"), "{table}");
}
