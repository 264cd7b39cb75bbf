use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::control::{self, History};
use super::device::Environment;
use super::weights::{self, TensorFile, Tensors};
use crate::error::{Error, Result};
use crate::graph::LossScale;
use crate::optim::PlateauState;
use crate::plan::{PageList, Pages, Program};

/// Where a run stands: everything that is not a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: u32,
    /// Batches done of the epoch that is under way.
    pub position: u32,
    /// Seed of all random numbers: with step and epoch it is the state of their generator.
    pub seed: u64,
    /// Loss and correct predictions of the epoch so far, as the bits of f64, and the number of samples.
    pub totals: Totals,
    /// What the evaluations came to.
    #[serde(default)]
    pub history: History,
    /// What the bits depend on.
    pub environment: Environment,
    /// The factor on the next step's gradients.
    #[serde(default = "LossScale::one")]
    pub loss_scale: LossScale,
    /// Where a schedule stands that looks at the losses.
    #[serde(default)]
    pub plateau: Option<PlateauState>,
}

/// Sums over the steps of an epoch; kept as bits so that a resumed epoch reports what it would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    loss: u64,
    correct: u64,
    samples: u64,
}

impl Totals {
    /// Adds a step.
    pub fn add(&mut self, loss: f64, correct: f64, samples: u64) {
        self.loss = (f64::from_bits(self.loss) + loss * samples as f64).to_bits();
        self.correct = (f64::from_bits(self.correct) + correct).to_bits();
        self.samples += samples;
    }

    /// Samples of the epoch so far.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Mean loss and share of correct predictions.
    pub fn means(&self) -> (f64, f64) {
        let samples = self.samples.max(1) as f64;
        (f64::from_bits(self.loss) / samples, f64::from_bits(self.correct) / samples)
    }
}

/// A run's complete state.
#[derive(Debug)]
pub struct Checkpoint {
    /// Parameters and running statistics.
    pub model: Tensors,
    /// Running averages of these, if they are kept.
    pub averages: Option<Tensors>,
    /// The optimizer's state arrays, by slot and parameter.
    pub optimizer: IndexMap<String, Tensors>,
    /// Where the run stands.
    pub progress: Progress,
}

const KEY: &str = "wgrad.checkpoint";

/// What names of the optimizer's state begin with.
const OPTIMIZER: &str = "optimizer.";

/// What names of running averages begin with.
const AVERAGES: &str = "ema.";

impl Checkpoint {
    /// Writes the checkpoint of a run folder; the one before is kept beside it.
    pub fn write(&self, run: &Path) -> Result<()> {
        let mut file = TensorFile { tensors: self.model.clone(), ..Default::default() };
        let prefixed = |prefix: &str, tensors: &Tensors| -> Tensors {
            tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
        };
        for (slot, tensors) in &self.optimizer {
            file.tensors.extend(prefixed(&format!("{OPTIMIZER}{slot}."), tensors));
        }
        file.tensors.extend(self.averages.iter().flat_map(|averages| prefixed(AVERAGES, averages)));
        let progress =
            serde_json::to_string(&self.progress).map_err(|error| Error::file(run, error.to_string()))?;
        // One entry, because the order of several would differ from file to file.
        let sum = checksum(&file.tensors, &progress);
        file.metadata.insert(KEY.to_string(), format!("{sum} {progress}"));
        let [current, next, previous] = paths(run);
        file.write(&next)?;
        // Before the checkpoint is the run's state: a state whose kept checkpoints are not there must not exist.
        control::keep(run, &self.progress.history, self.progress.step, &next)?;
        if current.exists() {
            std::fs::rename(&current, &previous).map_err(Error::io("rename", &current))?;
        }
        std::fs::rename(&next, &current).map_err(Error::io("rename", &next))?;
        control::forget(run, &self.progress.history)
    }

    /// Whether a run folder has a checkpoint, whole or damaged.
    pub fn exists(run: &Path) -> bool {
        paths(run).iter().any(|path| path.exists())
    }

    /// Reads the newest checkpoint of a run folder that is whole; the message says why a newer one was passed over.
    pub fn read(run: &Path, slots: &[&str]) -> Result<(Checkpoint, Option<String>)> {
        let files = paths(run);
        let mut candidates = files.iter().filter(|path| path.exists());
        let Some(newest) = candidates.next() else {
            return Err(Error::file(
                run,
                "has no checkpoint; the run ended before its first one: delete the folder and start it again",
            ));
        };
        Checkpoint::read_file(newest, slots).map(|checkpoint| (checkpoint, None)).or_else(|error| {
            let whole = candidates.find_map(|path| Checkpoint::read_file(path, slots).ok());
            let reason = error.to_string();
            whole.map(|checkpoint| (checkpoint, Some(reason))).ok_or(error)
        })
    }

    /// Reads one file, such as a kept checkpoint.
    ///
    /// # Errors
    /// If it is damaged, or is no checkpoint.
    pub fn read_file(path: &Path, slots: &[&str]) -> Result<Checkpoint> {
        let mut file = TensorFile::read(path)?;
        let text = file.metadata.get(KEY).ok_or_else(|| Error::file(path, "is not a checkpoint of wgrad"))?;
        let (sum, progress) = text.split_once(' ').unwrap_or_default();
        if sum != checksum(&file.tensors, progress) {
            return Err(Error::file(path, "is damaged: its content is not what was written"));
        }
        let progress = serde_json::from_str(progress)
            .map_err(|error| Error::file(path, format!("has a damaged record of its progress: {error}")))?;
        let of = |prefix: &str| -> Tensors {
            let own = file.tensors.iter().filter_map(|(name, tensor)| {
                name.strip_prefix(prefix).map(|name| (name.to_string(), tensor.clone()))
            });
            own.collect()
        };
        let slot = |slot: &&str| (slot.to_string(), of(&format!("{OPTIMIZER}{slot}.")));
        let optimizer: IndexMap<String, Tensors> = slots.iter().map(slot).collect();
        let averages = Some(of(AVERAGES)).filter(|averages| !averages.is_empty());
        file.tensors.retain(|name, _| !name.starts_with(OPTIMIZER) && !name.starts_with(AVERAGES));
        Ok(Checkpoint { model: file.tensors, averages, optimizer, progress })
    }

    /// Fails unless the checkpoint has exactly the tensors of the program.
    pub fn check(&self, run: &Path, program: &Program) -> Result<()> {
        let pages = &program.pages;
        for tensors in [Some(&self.model), self.averages.as_ref()].into_iter().flatten() {
            check_tensors(run, pages, tensors)?;
        }
        if program.averages() && self.averages.is_none() {
            return Err(Error::file(
                run,
                "has a checkpoint without running averages; was ema_decay added since?",
            ));
        }
        for (slot, tensors) in &self.optimizer {
            let incomplete = pages
                .parameters
                .tensors()
                .iter()
                .find(|(name, shape, _)| tensors.get(name).is_none_or(|tensor| tensor.shape != *shape));
            if let Some((name, ..)) = incomplete {
                return Err(Error::file(
                    run,
                    format!("has a checkpoint without the optimizer's {slot} of \"{name}\""),
                ));
            }
        }
        Ok(())
    }
}

/// Refuses parameters and statistics whose names are those of something else in a checkpoint.
///
/// # Errors
/// Names the first of them.
pub(super) fn check_names(pages: &Pages) -> Result<()> {
    let mut stored = pages.parameters.tensors().iter().chain(pages.statistics.tensors());
    let is_taken = |name: &str| name.starts_with(OPTIMIZER) || name.starts_with(AVERAGES);
    match stored.find(|(name, ..)| is_taken(name)) {
        None => Ok(()),
        Some((name, ..)) => Err(Error::Model(format!(
            "has a tensor \"{name}\"; names that begin with \"{OPTIMIZER}\" or \"{AVERAGES}\" are those of optimizer state and \
             running averages in checkpoints: name the layer otherwise"
        ))),
    }
}

/// Fails unless there is a tensor for each of the model.
fn check_tensors(run: &Path, pages: &Pages, tensors: &Tensors) -> Result<()> {
    let stored = pages.parameters.tensors().iter().chain(pages.statistics.tensors());
    for (name, shape, _) in stored {
        match tensors.get(name) {
            Some(tensor) if tensor.shape == *shape => {}
            Some(tensor) => {
                let message =
                    format!("has a checkpoint with \"{name}\" as {}, the model needs {shape}", tensor.shape);
                return Err(Error::file(run, message));
            }
            None => return Err(Error::file(run, format!("has a checkpoint without \"{name}\""))),
        }
    }
    Ok(())
}

/// CRC-32 of all that a run continues from.
fn checksum(tensors: &Tensors, progress: &str) -> String {
    let mut tensors: Vec<_> = tensors.iter().collect();
    tensors.sort_by_key(|(name, _)| *name);
    let mut sum = flate2::Crc::new();
    for (name, tensor) in tensors {
        sum.update(name.as_bytes());
        sum.update(bytemuck::cast_slice(&tensor.data));
    }
    sum.update(progress.as_bytes());
    format!("{:08x}", sum.sum())
}

/// The checkpoint, the one that is about to take its place (left by a kill between two renames), and the one before.
fn paths(run: &Path) -> [PathBuf; 3] {
    ["checkpoint", "checkpoint.next", "checkpoint.previous"]
        .map(|name| run.join(name).with_added_extension("safetensors"))
}

/// The page lists of a session that make up its state, with the names under which a checkpoint has them.
pub fn slot_lists(program: &Program) -> impl Iterator<Item = (&'static str, PageList)> {
    program.slots().iter().enumerate().map(|(slot, name)| (*name, PageList::Slot(slot)))
}

/// Pages of one slot from a checkpoint.
pub fn slot_pages(program: &Program, tensors: &Tensors) -> Vec<Vec<f32>> {
    weights::to_pages(&program.pages.parameters, tensors)
}
