//! The run folder: recipe, model, metrics, weights, checkpoints.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::control::Choice;
use super::recipe::ResolvedRecipe;
use super::weights::{TensorFile, Tensors};
use crate::data::Normalization;
use crate::error::{Error, Result};
use crate::files;
use crate::models::{Model, ModelSpec};

/// A run folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its path.
    pub path: PathBuf,
}

const MODEL_KEY: &str = "wgrad.model";

/// What `model.safetensors` says of itself, besides the weights: enough to use it without the data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunModel {
    /// Channels, height and width of an image.
    pub image: [usize; 3],
    /// Names of the classes, in order.
    pub classes: Vec<String>,
    /// How pixels (0..1) are normalised.
    pub normalization: Option<Normalization>,
    /// What the shorter side of pictures is resized to before the middle is taken; without, they are resized as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<usize>,
    /// The model as a model file.
    pub model: String,
}

impl Run {
    /// Creates a folder for a new run.
    ///
    /// # Errors
    /// If it already holds a run.
    pub fn create(path: &Path) -> Result<Run> {
        std::fs::create_dir_all(path).map_err(Error::io("create", path))?;
        for name in ["recipe.toml", "checkpoint.safetensors", "model.safetensors"] {
            if path.join(name).exists() {
                let message = "already holds a run; give another --out, or continue it with `wgrad resume`";
                return Err(Error::file(path, message));
            }
        }
        Ok(Run { path: path.to_path_buf() })
    }

    /// Creates the first free of `base/name-1`, `base/name-2`, ...
    pub fn create_numbered(base: &Path, name: &str) -> Result<Run> {
        std::fs::create_dir_all(base).map_err(Error::io("create", base))?;
        for number in 1.. {
            let path = base.join(format!("{name}-{number}"));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Run { path }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", &path)(error)),
            }
        }
        unreachable!("one of 2^31 numbers is free")
    }

    /// Opens the folder of a run.
    pub fn open(path: &Path) -> Result<Run> {
        let why = match path {
            _ if path.is_file() => "it is a file; give the folder that `wgrad train` has made",
            _ if !path.is_dir() => "there is no such folder; `wgrad runs` lists those in runs/",
            _ if !path.join("recipe.toml").is_file() => {
                "it has no recipe.toml; `wgrad runs DIR` lists those in a folder"
            }
            _ => return Ok(Run { path: path.to_path_buf() }),
        };
        Err(Error::file(path, format!("is not a run folder: {why}")))
    }

    /// Removes the halves of files that a killed process left behind.
    pub fn remove_leftovers(&self) {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let leftovers = entries.filter(|entry| files::is_temporary(&entry.file_name()));
        for entry in leftovers {
            // They are in nobody's way: one that cannot be removed stays.
            let _ = std::fs::remove_file(entry.path());
        }
    }

    /// A file of the run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes `recipe.toml` and `model.toml`.
    pub fn write_recipe(&self, recipe: &str, model: &str) -> Result<()> {
        // The recipe makes the folder a run: it comes last.
        files::write_bytes(&self.file("model.toml"), model)?;
        files::write_bytes(&self.file("recipe.toml"), recipe)
    }

    /// Writes `model.safetensors`, with PyTorch's counters of batches, so that `load_state_dict` takes it as it is.
    pub fn write_model(&self, about: &RunModel, tensors: &Tensors, steps: u64) -> Result<()> {
        self.write_weights("model.safetensors", about, tensors, steps)
    }

    /// Writes `model_ema.safetensors`, alike, of the running averages.
    pub fn write_averages(&self, about: &RunModel, tensors: &Tensors, steps: u64) -> Result<()> {
        self.write_weights("model_ema.safetensors", about, tensors, steps)
    }

    fn write_weights(&self, name: &str, about: &RunModel, tensors: &Tensors, steps: u64) -> Result<()> {
        let path = self.file(name);
        let mut file = TensorFile { tensors: tensors.clone(), ..Default::default() };
        let means = tensors.keys().filter_map(|name| name.strip_suffix("running_mean"));
        let counters =
            means.map(|layer| (format!("{layer}num_batches_tracked"), (vec![], vec![steps as i64])));
        file.integers.extend(counters);
        let text = serde_json::to_string(about).map_err(|error| Error::file(&path, error.to_string()))?;
        file.metadata.insert(MODEL_KEY.to_string(), text);
        file.write(&path)
    }

    /// The run's model with the weights that are meant: those of the last checkpoint or of a kept one, or their running
    /// averages.
    ///
    /// # Errors
    /// If that checkpoint was not kept, or the run keeps no averages.
    pub fn read_chosen(&self, choice: Choice, averages: bool) -> Result<(RunModel, Model, TensorFile)> {
        let (about, model, mut file) = self.read_model()?;
        let path = self.file("model_ema.safetensors");
        if averages && !path.is_file() {
            let message = "keeps no running averages of its weights; --ema-decay of `wgrad train` keeps them";
            return Err(Error::file(&self.path, message));
        }
        match self.kept(choice)? {
            Some(kept) => {
                let checkpoint = Checkpoint::read_file(&kept, &[])?;
                let tensors = if averages { checkpoint.averages } else { Some(checkpoint.model) };
                file.tensors = tensors.ok_or_else(|| Error::file(&kept, "has no running averages"))?;
            }
            None if averages => file = TensorFile::read(&path)?,
            None => {}
        }
        Ok((about, model, file))
    }

    /// The kept checkpoint that is meant; none for the last.
    fn kept(&self, choice: Choice) -> Result<Option<PathBuf>> {
        if choice == Choice::Last {
            return Ok(None);
        }
        let recipe = ResolvedRecipe::load(&self.file("recipe.toml"))?;
        let (checkpoint, _) = Checkpoint::read(&self.path, &[])?;
        choice.file(&self.path, &checkpoint.progress.history, recipe.control.rule.monitor)
    }

    /// Reads `model.safetensors`: what it says of itself, the model, and its weights.
    pub fn read_model(&self) -> Result<(RunModel, Model, TensorFile)> {
        let path = self.file("model.safetensors");
        if !path.is_file() {
            let message = "has no model.safetensors yet; it is written at the end of each epoch";
            return Err(Error::file(&self.path, message));
        }
        let file = TensorFile::read(&path)?;
        let text = file.metadata.get(MODEL_KEY);
        let text = text.ok_or_else(|| {
            Error::file(&path, "does not say which model it is of; was it written by wgrad?")
        })?;
        let about: RunModel = serde_json::from_str(text).map_err(|error| {
            Error::file(&path, format!("has a damaged description of its model: {error}"))
        })?;
        if let Some(normalization) = &about.normalization {
            normalization.check(about.image[0])?;
        }
        let model = ModelSpec::parse("model", &about.model)?.bind(about.image, about.classes.len())?;
        Ok((about, model, file))
    }
}
