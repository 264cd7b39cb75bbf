//! `--ui tui`, in a real terminal: tmux draws it, presses its keys and says what is on the screen.

use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::Place;

static HAS_TMUX: LazyLock<bool> = LazyLock::new(|| {
    let has = Command::new("tmux").arg("-V").output().is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("SKIPPED: tmux is not installed; the dashboard was not tested in a terminal");
    }
    has
});

/// Digits for longer than any test takes.
const LONG: &str = "train --device cpu --epochs 100000 --ui tui --out run";

/// A terminal with a shell in it.
struct Terminal<'a> {
    place: &'a Place,
}

impl Terminal<'_> {
    /// A shell of 80 x 24 in the place's folder, whose tmux has a server of its own there.
    fn open(place: &Place) -> Terminal<'_> {
        let terminal = Terminal { place };
        terminal.tmux(&["new-session", "-d", "-x", "80", "-y", "24", "env", "PS1=ready$ ", "sh"]);
        terminal.waits_for("ready$");
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = self.place.program("tmux");
        command.env("LC_ALL", "C.UTF-8").env_remove("TMUX");
        let output = command.args(["-u", "-S", "socket"]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-J"])
    }

    /// Runs a command of wgrad, then says how it ended.
    fn starts(&self, line: &str) {
        let line = format!("{} {line}; echo \"code=$?\"", env!("CARGO_BIN_EXE_wgrad"));
        self.tmux(&["send-keys", "-l", &line]);
        self.tmux(&["send-keys", "Enter"]);
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// The screen once it holds a text.
    fn waits_for(&self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if screen.contains(text) {
                return screen;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{text:?} does not come:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// After a run: nothing is left of the picture, and what is typed is seen.
    fn is_restored(&self) {
        let screen = self.screen();
        assert!(!screen.contains("last mistakes"), "{screen}");
        self.tmux(&["send-keys", "-l", "echo see''n"]);
        self.waits_for("echo see''n");
        self.press("Enter");
        self.waits_for("\nseen");
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn a_run_is_shown_paused_saved_stopped_and_resumed() {
    if !*HAS_TMUX {
        return;
    }
    let place = Place::new();
    let terminal = Terminal::open(&place);
    terminal.starts(LONG);
    let screen = terminal.waits_for("train loss");
    for part in [
        " training  run  digits-cnn on the CPU",
        "last mistakes",
        "img/s",
        "ETA",
        "p  pause",
        "loss  train",
        "accuracy %  train",
    ] {
        assert!(screen.contains(part), "{part:?} is not in:\n{screen}");
    }
    terminal.press("p");
    let paused = terminal.waits_for(" paused ");
    let step = |screen: &str| {
        let line = screen.lines().find(|line| line.contains("/2200000")).unwrap().to_string();
        line.split("step ").nth(1).unwrap().split('/').next().unwrap().parse::<u64>().unwrap()
    };
    std::thread::sleep(Duration::from_millis(600));
    let later = terminal.screen();
    assert!(step(&later) <= step(&paused) + 5, "{paused}\n{later}");
    let kept = terminal.screen();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(step(&kept), step(&terminal.screen()), "a paused run goes on");

    let saved = || std::fs::metadata(place.path("run/checkpoint.safetensors")).unwrap().modified().unwrap();
    let before = saved();
    terminal.press("c");
    terminal.waits_for("checkpoint after step");
    let begun = Instant::now();
    while saved() == before {
        assert!(begun.elapsed() < Duration::from_secs(20), "no checkpoint is written");
        std::thread::sleep(Duration::from_millis(20));
    }
    terminal.press("p");
    terminal.waits_for(" training ");
    terminal.press("q");
    let ended = terminal.waits_for("code=130");
    assert!(
        ended.contains("interrupted at step") && ended.contains("`wgrad resume run` continues"),
        "{ended}"
    );
    terminal.is_restored();

    terminal.starts("resume run --ui tui");
    terminal.waits_for("last mistakes");
    terminal.press("C-c");
    terminal.waits_for("code=130");
    terminal.is_restored();
}

#[test]
fn the_end_and_errors_give_the_terminal_back() {
    if !*HAS_TMUX {
        return;
    }
    let place = Place::new();
    let terminal = Terminal::open(&place);
    terminal.starts("train --device cpu --epochs 2 --ui tui --out run");
    let ended = terminal.waits_for("code=0");
    assert!(ended.contains("saved in run") && ended.contains("test accuracy"), "{ended}");
    terminal.is_restored();
    terminal.starts("train --device cpu --epochs 90 --lr 1e30 --optimizer sgd --ui tui --out bad");
    let ended = terminal.waits_for("code=1");
    assert!(ended.contains("training stopped, and the last checkpoint"), "{ended}");
    terminal.is_restored();
}

#[test]
fn other_sizes_are_drawn_too() {
    if !*HAS_TMUX {
        return;
    }
    let place = Place::new();
    let terminal = Terminal::open(&place);
    terminal.starts(LONG);
    terminal.waits_for("train loss");
    terminal.tmux(&["resize-window", "-x", "40", "-y", "10"]);
    terminal.waits_for("40 x 10 is too small");
    terminal.tmux(&["resize-window", "-x", "150", "-y", "50"]);
    terminal.waits_for("last mistakes");
    terminal.press("s");
    terminal.waits_for("code=130");
    terminal.is_restored();
}

#[test]
fn without_a_terminal_it_is_refused() {
    let place = Place::new();
    place.fails("train --ui tui", 2, &["--ui tui needs a terminal", "standard output is none"]);
    place.fails("resume run --ui tui", 2, &["--ui tui needs a terminal"]);
}

#[test]
fn the_dashboard_changes_no_bit() {
    if !*HAS_TMUX {
        return;
    }
    let place = Place::new();
    place.ok("train --device cpu --epochs 3 --out plain --quiet");
    let terminal = Terminal::open(&place);
    terminal.starts("train --device cpu --epochs 3 --ui tui --out shown");
    terminal.press("c");
    terminal.waits_for("code=0");
    place.same_bits("plain", "shown");
}
