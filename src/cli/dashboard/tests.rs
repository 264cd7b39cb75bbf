use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::state::{Curve, Facts, Key, Speedometer, State};
use super::{Dashboard, Shared, draw};
use crate::train::metrics::TestLine;
use crate::train::{Evaluation, StepEvent};

fn event(step: u64) -> StepEvent {
    let loss = 2.3 * (-(step as f32) / 40.0).exp() + 0.1;
    StepEvent { step, total_steps: 230, epoch: step.div_ceil(23) as u32, loss, lr: 0.002, batch_size: 64 }
}

/// A run of ten epochs of which six are done.
fn running() -> State {
    let classes = ["cat", "dog", "hippopotamus"].map(str::to_string).to_vec();
    let facts = Facts {
        run: "runs/pets-1".to_string(),
        model: "small-cnn".to_string(),
        device: "the CPU (2 threads)".to_string(),
        device_bytes: Some(12_900_000),
        classes,
        epochs: 10,
        steps: 230,
        done: 0,
    };
    let mut state = State::new(facts);
    for step in 1..=138 {
        state.step(event(step));
        if step % 23 == 0 {
            let accuracy = 1.0 - 1.0 / step as f64;
            let test = TestLine {
                test_loss: 30.0 / step as f64,
                test_accuracy: accuracy,
                test_top5_accuracy: 1.0,
                test_macro_f1: accuracy,
                test_ece: 0.1,
            };
            state.accuracy.push(step as f64, accuracy * 90.0);
            state.test(&test);
            state.say(format!("epoch {} of the run is done", step / 23));
        }
    }
    state.evaluated(&evaluation(vec![vec![7, 3, 0], vec![12, 90, 1], vec![0, 0, 5]]));
    state.rate = 1234.5;
    state
}

fn evaluation(confusion: Vec<Vec<u64>>) -> Evaluation {
    Evaluation { loss: 0.0, accuracy: 0.0, top5_accuracy: 0.0, ece: 0.0, confusion, logits: vec![] }
}

fn drawn(state: &State, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, state)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_string();
    (0..height).map(row).collect()
}

/// Made by the first run with `WGRAD_BLESS=1`, and looked at.
const SNAPSHOT: &str = include_str!("80x24.txt");

#[test]
fn eighty_by_twenty_four() {
    let rows = drawn(&running(), 80, 24).join("\n") + "\n";
    if std::env::var_os("WGRAD_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/dashboard/80x24.txt");
        std::fs::write(path, &rows).unwrap();
    } else {
        assert!(rows == SNAPSHOT, "other than src/cli/dashboard/80x24.txt:\n{rows}");
    }
}

#[test]
fn any_size_and_any_state_can_be_drawn() {
    let mut odd = running();
    odd.loss.points.extend([(139.0, f64::NAN), (140.0, f64::INFINITY), (141.0, -1e300)]);
    odd.facts = Facts::default().into();
    odd.rate = f64::NAN;
    odd.log.push_back("x".repeat(1000));
    let early = State::new(Facts::default());
    for state in [running(), odd, early] {
        for (width, height) in [(1, 1), (59, 16), (60, 15), (60, 16), (80, 24), (200, 60), (300, 17)] {
            drawn(&state, width, height);
        }
    }
    assert!(drawn(&running(), 59, 24)[0].starts_with("59 x 24 is too small"));
    let large = drawn(&running(), 140, 50).join("\n");
    assert!(large.contains("dog -> cat        12") && large.contains("cat -> dog         3"), "{large}");
    assert!(large.contains("epoch 6 of the run is done"), "{large}");
}

#[test]
fn long_curves_are_merged_into_means() {
    let mut curve = Curve::default();
    (0..100_000).for_each(|step| curve.push(f64::from(step), f64::from(step % 2)));
    assert!((256..512).contains(&curve.points.len()), "{}", curve.points.len());
    assert!(curve.points.iter().all(|(_, value)| *value == 0.5));
    assert!(curve.points.is_sorted_by(|a, b| a.0 < b.0));
}

#[test]
fn a_picture_has_what_fits_and_leaves_the_log() {
    let mut state = running();
    (0..20_000).for_each(|line| state.say(line.to_string()));
    let picture = state.picture(24);
    assert_eq!((picture.log.len(), picture.log.back().unwrap().as_str()), (24, "19999"));
    assert_eq!((state.log.len(), state.log.front().unwrap().as_str()), (10_000, "10000"));
    assert_eq!(drawn(&picture, 80, 24), drawn(&state, 80, 24));
    for epoch in 0..5000 {
        state.accuracy.push(f64::from(epoch), 0.5);
    }
    assert!(state.picture(24).accuracy.points.len() < 512);
}

#[test]
fn keys_pause_save_and_stop() {
    let mut state = running();
    state.key(Key::Pause);
    assert!(state.paused && drawn(&state, 80, 24)[0].starts_with(" paused "));
    assert_eq!(state.log.back().unwrap(), "paused at step 138");
    state.key(Key::Pause);
    assert!(!state.paused);
    state.key(Key::Checkpoint);
    assert!(state.wants_checkpoint);
    state.key(Key::Stop);
    assert!(drawn(&state, 80, 24)[0].starts_with(" stopping "));
}

#[test]
fn a_paused_run_waits_and_may_save_meanwhile() {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Condvar, Mutex};

    use crate::train::{Observer, Wish};

    let mut state = running();
    state.paused = true;
    state.wants_checkpoint = true;
    let stop = Arc::new(AtomicBool::new(false));
    let shared = Shared {
        state: Mutex::new(state),
        changed: Condvar::new(),
        stop: stop.clone(),
        ended: AtomicBool::new(false),
    };
    let shared = Arc::new(shared);
    let mut dashboard = Dashboard { shared: shared.clone(), thread: None };
    assert_eq!(dashboard.wish(), Wish::Checkpoint);
    let begun = Instant::now();
    let waker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        shared.state().paused = false;
        shared.changed.notify_all();
    });
    assert_eq!(dashboard.wish(), Wish::GoOn);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    waker.join().unwrap();
    // A signal from outside ends a pause too.
    dashboard.shared.state().paused = true;
    stop.store(true, Ordering::Relaxed);
    assert_eq!(dashboard.wish(), Wish::GoOn);
}

#[test]
fn speed_is_that_of_the_last_seconds() {
    let (mut state, mut speed, begun) = (running(), Speedometer::default(), Instant::now());
    state.rate = 0.0;
    for second in 0..60 {
        state.step(event(138 + 10 * second));
        speed.look(&mut state, begun + Duration::from_secs(second));
    }
    assert!((state.rate - 640.0).abs() < 1e-6, "{}", state.rate);
}
