//! Runs that are killed or interrupted at any moment, and then continued to the very bits of one that was not.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::files::{TINY, write_tiny};
use crate::{Place, Ran};

/// Digits with the default recipe: 66 steps in three epochs, with a checkpoint every 5 steps.
const DIGITS: &str = "train --device cpu --epochs 3 --checkpoint-every 5 --log-every 1";

/// Waits until a run has so many lines of metrics.
fn wait_for_lines(place: &Place, run: &str, lines: usize, child: &mut Child) {
    let path = place.path(Path::new(run).join("metrics.jsonl"));
    let since = Instant::now();
    while std::fs::read_to_string(&path).map_or(0, |text| text.lines().count()) < lines {
        assert!(child.try_wait().unwrap().is_none(), "{run} ended before it had {lines} lines");
        assert!(since.elapsed() < Duration::from_secs(60), "{run} has no {lines} lines after a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ends a process without any chance to clean up (SIGKILL).
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn killed_runs_continue_to_the_same_bits() {
    let place = Place::new();
    place.ok(&format!("{DIGITS} --quiet --out whole"));
    // Around checkpoints (multiples of 5), around the ends of epochs (22 and 44), and anywhere.
    for lines in [1, 5, 13, 22, 41] {
        let run = format!("killed-{lines}");
        let mut child = place.start(&format!("{DIGITS} --out {run}"));
        wait_for_lines(&place, &run, lines, &mut child);
        kill(child);
        let resumed = place.ok(&format!("resume {run}"));
        assert!(resumed.out.starts_with("continuing at step "), "{}", resumed.out);
        assert_eq!(resumed.err, "");
        place.same_bits("whole", &run);
        let leftovers: Vec<String> = place.contents(&run).into_iter().map(|(name, _)| name).collect();
        assert!(!leftovers.iter().any(|name| name.starts_with('.')), "{leftovers:?}");
    }
}

#[test]
fn a_run_may_be_killed_again_and_again() {
    let place = Place::new();
    write_tiny(&place);
    // 60 steps of 3 an epoch; a few milliseconds each, so that the moments are spread over the whole run.
    let line = format!(
        "train {TINY} --optimizer adamw --schedule one-cycle --lr 0.01 --epochs 20 --checkpoint-every 2 --log-every 1"
    );
    place.ok(&format!("{line} --quiet --out whole"));
    let mut child = place.start(&format!("{line} --out killed"));
    for lines in [2, 9, 17, 30, 44, 61] {
        wait_for_lines(&place, "killed", lines, &mut child);
        kill(child);
        child = place.start("resume killed");
    }
    let ran = Ran::of(child.wait_with_output());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    place.same_bits("whole", "killed");
}

#[test]
fn a_run_that_is_killed_at_once_can_be_continued() {
    let place = Place::new();
    write_tiny(&place);
    let line = format!("train {TINY} --optimizer adam --max-steps 4");
    place.ok(&format!("{line} --out whole"));
    for milliseconds in [0u64, 5, 10, 20, 40, 80] {
        let run = format!("killed-{milliseconds}");
        let child = place.start(&format!("{line} --out {run}"));
        std::thread::sleep(Duration::from_millis(milliseconds));
        kill(child);
        let has = |name: &str| std::fs::exists(place.path(format!("{run}/{name}.safetensors"))).unwrap();
        if !place.path(format!("{run}/recipe.toml")).exists() {
            // It never began.
            place.fails(&format!("resume {run}"), 1, &["is not a run folder"]);
        } else if !has("checkpoint") && !has("checkpoint.next") {
            place.fails(&format!("resume {run}"), 1, &["has no checkpoint", "start it again"]);
        } else {
            place.ok(&format!("resume {run}"));
            place.same_bits("whole", &run);
        }
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_continue() {
    let place = Place::new();
    place.ok(&format!("{DIGITS} --quiet --out whole"));
    for (run, presses) in [("once", 1), ("twice", 2)] {
        let mut child = place.start(&format!("{DIGITS} --out {run}"));
        wait_for_lines(&place, run, 7, &mut child);
        for _ in 0..presses {
            let sent = place.program("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
            assert!(sent.success());
        }
        let ran = Ran::of(child.wait_with_output());
        assert_eq!(ran.code, Some(130), "{ran:?}");
        ran.never_panicked();
        ran.remarks(&["stopping after the steps in flight", "Ctrl-C again stops at once"]);
        if presses == 1 {
            let step = place.metrics(run).iter().filter(|line| line["step"].is_u64()).count();
            ran.remarks(&[&format!("error: interrupted at step {step}; `wgrad resume once` continues")]);
            let resumed = place.ok("resume once");
            assert!(resumed.out.starts_with(&format!("continuing at step {step} of 66")), "{}", resumed.out);
        } else {
            place.ok("resume twice");
        }
        place.same_bits("whole", run);
    }
}

#[test]
fn a_finished_run_says_so() {
    let place = Place::new();
    write_tiny(&place);
    // Whole epochs; and a last epoch that is cut short, whose line must stay.
    for (run, length) in [("epochs", "--epochs 2"), ("steps", "--max-steps 4")] {
        let trained = place.ok(&format!("train {TINY} {length} --log-every 1 --out {run}"));
        let before = place.contents(run);
        let resumed = place.ok(&format!("resume {run}"));
        let steps = if run == "epochs" { 6 } else { 4 };
        let said = format!("already finished at step {steps} of {steps}");
        assert!(resumed.out.starts_with(&said), "{}", resumed.out);
        let result = trained.out.lines().find(|line| line.starts_with("test accuracy")).unwrap();
        assert!(resumed.out.contains(result), "{}", resumed.out);
        assert!(before == place.contents(run), "{run} was changed");
    }
}

#[test]
fn a_longer_recipe_continues_a_finished_run() {
    let place = Place::new();
    write_tiny(&place);
    let line = format!("train {TINY} --optimizer adam --log-every 1");
    place.ok(&format!("{line} --max-steps 8 --out whole"));
    place.ok(&format!("{line} --max-steps 4 --out short"));
    let recipe = place.text("short/recipe.toml").replace("max_steps = 4", "max_steps = 8");
    place.write("short/recipe.toml", recipe);
    place.ok("resume short");
    place.same_bits("whole", "short");
}

#[test]
fn another_number_of_threads_is_warned_about() {
    let place = Place::new();
    write_tiny(&place);
    let train =
        place.command(&format!("train {TINY} --max-steps 4 --out a")).env("RAYON_NUM_THREADS", "1").output();
    assert_eq!(Ran::of(train).code, Some(0));
    let resumed = Ran::of(place.command("resume a").env("RAYON_NUM_THREADS", "2").output());
    assert_eq!(resumed.code, Some(0));
    resumed.remarks(&["warning: the number of threads was \"1\" and is \"2\"", "not to the same bits"]);
}
