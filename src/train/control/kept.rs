//! Kept checkpoints: files of the folder `checkpoints` in a run's folder, named by their steps. They share their
//! contents with `checkpoint.safetensors` at the time (hard links), so that keeping one costs no copy.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{History, Monitor};
use crate::error::{Error, Result};

const FOLDER: &str = "checkpoints";

/// Which weights of a run are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Those of the last checkpoint.
    #[default]
    Last,
    /// Those that did best by the run's monitored metric.
    Best,
    /// Those after a number of steps.
    Step(u64),
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Choice> {
        match text {
            "last" => Ok(Choice::Last),
            "best" => Ok(Choice::Best),
            _ => text.parse().map(Choice::Step).map_err(|_| {
                Error::Recipe(format!(
                    "--checkpoint is \"{text}\"; it must be last, best or a number of steps"
                ))
            }),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Last => f.write_str("last"),
            Choice::Best => f.write_str("best"),
            Choice::Step(step) => write!(f, "{step}"),
        }
    }
}

impl Choice {
    /// The kept checkpoint that is meant; none for the last, which is the run's own.
    ///
    /// # Errors
    /// If that one was not kept: the message lists those that were.
    pub fn file(self, run: &Path, history: &History, monitor: Monitor) -> Result<Option<PathBuf>> {
        let step = match self {
            Choice::Last => return Ok(None),
            Choice::Best => history.best_kept(monitor).map(|score| score.step),
            Choice::Step(step) => Some(step),
        };
        let path = step.map(|step| file(run, step)).filter(|path| path.is_file());
        path.map(Some).ok_or_else(|| {
            let steps: Vec<String> = history.kept.iter().map(|score| score.step.to_string()).collect();
            let kept = if steps.is_empty() {
                "none".to_string()
            } else {
                format!("those of steps {}", steps.join(", "))
            };
            let what = match self {
                Choice::Step(step) => format!("checkpoint of step {step}"),
                Choice::Best | Choice::Last => "best checkpoint".to_string(),
            };
            Error::file(
                run,
                format!("has no {what}; kept are {kept} (see --keep-best and --keep-last of `wgrad train`)"),
            )
        })
    }
}

/// Keeps a checkpoint of `step`, written to the file `current`, if the history wants it.
pub fn keep(run: &Path, history: &History, step: u64, current: &Path) -> Result<()> {
    if !is_kept(history, step) {
        return Ok(());
    }
    let (folder, kept) = (run.join(FOLDER), file(run, step));
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    // One of that step may be left from before a resume, of which this is the repetition.
    remove(&kept)?;
    if fs::hard_link(current, &kept).is_err() {
        // Some file systems have no links.
        fs::copy(current, &kept).map_err(Error::io("write", &kept))?;
    }
    Ok(())
}

/// Removes kept checkpoints that are not in the history: no longer, or after a resume not yet.
pub fn forget(run: &Path, history: &History) -> Result<()> {
    for entry in fs::read_dir(run.join(FOLDER)).into_iter().flatten().flatten() {
        let step = entry.file_name().to_str().and_then(step_of);
        if step.is_some_and(|step| !is_kept(history, step)) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn is_kept(history: &History, step: u64) -> bool {
    history.kept.iter().any(|score| score.step == step)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn file(run: &Path, step: u64) -> PathBuf {
    run.join(FOLDER).join(format!("step-{step:08}.safetensors"))
}

fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
}
