//! `--ui tui`: a live dashboard in the terminal.
//!
//! The trainer tells it what it tells the progress bar. A thread of its own draws a few times a second and reads keys,
//! so that a step waits for no terminal, however slow its connection is.

mod draw;
mod state;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::cursor::MoveTo;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;

pub(super) use state::Facts;
use state::{Key, Speedometer, State};

use super::progress::{epoch_text, evaluation_text};
use super::report::say;
use crate::error::{Error, Result};
use crate::train::metrics::{EpochLine, EvaluationLine};
use crate::train::{Evaluation, Observer, StepEvent, Wish};

/// Between two pictures.
const TICK: Duration = Duration::from_millis(250);

/// Fails if there is no terminal to draw on.
pub(super) fn require_terminal() -> Result<()> {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if std::io::stdout().is_terminal() && !dumb {
        return Ok(());
    }
    let message = "--ui tui needs a terminal, and standard output is none; leave it out for plain lines";
    Err(Error::Recipe(message.to_string()))
}

/// Gives the terminal back before the process is ended.
pub(super) fn give_back() {
    // tmux makes a picture smaller from its last row up to the cursor, and moves what is above into its history, from which
    // it comes back on the user's screen: so from the first row. If that fails, the rest does too.
    let _ = execute!(std::io::stdout(), MoveTo(0, 0));
    ratatui::restore();
}

/// The dashboard of a run, from its first step to its last.
pub(super) struct Dashboard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Something that a run which stands still waits for has changed.
    changed: Condvar,
    /// Raised by keys here, and by Ctrl-C from outside.
    stop: Arc<AtomicBool>,
    ended: AtomicBool,
}

impl Shared {
    /// A thread that panics leaves a state that can still be shown.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dashboard {
    /// Takes the terminal.
    pub(super) fn open(facts: Facts, stop: Arc<AtomicBool>) -> Result<Dashboard> {
        require_terminal()?;
        let state = Mutex::new(State::new(facts));
        let shared = Shared { state, changed: Condvar::new(), stop, ended: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let failed = |error: std::io::Error| Error::Recipe(format!("cannot draw on the terminal: {error}"));
        // Also makes panics restore the terminal before they are printed.
        let terminal = ratatui::try_init().map_err(failed)?;
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("dashboard".to_string());
        let thread = thread.spawn(move || show(terminal, &of_thread)).inspect_err(|_| ratatui::restore());
        Ok(Dashboard { shared, thread: Some(thread.map_err(failed)?) })
    }

    /// Gives the terminal back, with the log on it.
    pub(super) fn close(mut self, quiet: bool) {
        self.restore();
        if !quiet {
            self.shared.state().log.iter().for_each(say);
        }
    }

    fn restore(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.ended.store(true, Ordering::Relaxed);
            // If it has panicked, that has been said.
            let _ = thread.join();
            give_back();
        }
    }
}

/// However the run ends.
impl Drop for Dashboard {
    fn drop(&mut self) {
        self.restore();
    }
}

impl Observer for Dashboard {
    fn step(&mut self, event: StepEvent) {
        self.shared.state().step(event);
    }

    fn evaluated(&mut self, evaluation: &Evaluation) {
        self.shared.state().evaluated(evaluation);
    }

    fn epoch(&mut self, line: &EpochLine) {
        let mut state = self.shared.state();
        let step = state.done() as f64;
        state.accuracy.push(step, line.train_accuracy * 100.0);
        state.test(&line.test);
        state.device_bytes = line.device_bytes;
        let epochs = state.facts.epochs;
        state.say(epoch_text(line, epochs));
    }

    fn evaluation(&mut self, line: &EvaluationLine) {
        let mut state = self.shared.state();
        state.test(&line.test);
        state.say(evaluation_text(line));
    }

    fn wish(&mut self) -> Wish {
        let mut state = self.shared.state();
        loop {
            if std::mem::take(&mut state.wants_checkpoint) {
                let step = state.done();
                state.say(format!("checkpoint after step {step}"));
                return Wish::Checkpoint;
            }
            if !state.paused || self.shared.stop.load(Ordering::Relaxed) {
                return Wish::GoOn;
            }
            // A signal from outside wakes nobody.
            let waited = self.shared.changed.wait_timeout(state, TICK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Draws and reads keys until the run ends, or the terminal does; the run goes on without it.
fn show(mut terminal: DefaultTerminal, shared: &Shared) {
    let mut speed = Speedometer::default();
    while !shared.ended.load(Ordering::Relaxed) {
        let rows = terminal.size().map_or(0, |size| usize::from(size.height));
        let picture = {
            let mut state = shared.state();
            state.stopping |= shared.stop.load(Ordering::Relaxed);
            speed.look(&mut state, Instant::now());
            state.picture(rows)
        };
        if terminal.draw(|frame| draw::draw(frame, &picture)).is_err() || read_keys(shared).is_err() {
            return;
        }
    }
}

/// Waits for a key until the next picture is due.
fn read_keys(shared: &Shared) -> std::io::Result<()> {
    let mut wait = TICK;
    while event::poll(wait)? {
        wait = Duration::ZERO;
        let Event::Key(key) = event::read()? else { continue };
        if key.kind != KeyEventKind::Press {
            continue;
        }
        let interrupts = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        let pressed = match key.code {
            _ if interrupts => Key::Stop,
            KeyCode::Char('p' | ' ') => Key::Pause,
            KeyCode::Char('c') => Key::Checkpoint,
            KeyCode::Char('s' | 'q') => Key::Stop,
            _ => continue,
        };
        if interrupts && shared.stop.load(Ordering::Relaxed) {
            give_back();
            std::process::exit(130);
        }
        if pressed != Key::Stop || !shared.stop.load(Ordering::Relaxed) {
            shared.state().key(pressed);
        }
        if pressed == Key::Stop {
            shared.stop.store(true, Ordering::Relaxed);
        }
        shared.changed.notify_all();
    }
    Ok(())
}
