use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, value_parser};
use serde::Serialize;

use super::args::{WeightsArgs, sample_shape};
use super::model;
use super::report::say;
use crate::error::{Error, Result};
use crate::exchange::{Exported, onnx, pytorch};
use crate::files;
use crate::graph::Mode;
use crate::models::Model;
use crate::train::weights::{self, TensorFile};
use crate::train::{Run, RunModel};

/// The arguments of `wgrad export`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad export runs/digits-cnn-1 --format onnx --out digits.onnx")]
pub struct ExportArgs {
    /// The folder of a run; or a built-in model's name or a TOML file, with --init
    pub run: PathBuf,
    /// What to write: onnx; safetensors (weights, and what the model is in a JSON file beside them); pytorch (a Python
    /// module, and its weights beside it)
    #[arg(long, value_name = "FORMAT")]
    pub format: ExportFormat,
    /// The file [default: exported.onnx, .safetensors or .py in the run's folder, or in this one]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Make batch norms part of the convolutions before them; for onnx
    #[arg(long)]
    pub fold_batch_norm: bool,
    /// Which weights
    #[command(flatten)]
    pub weights: WeightsArgs,
    /// Weights of a model that is no run, a safetensors file [default: initial ones]
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// Draws the initial weights of a model that is no run
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Channels, height and width of an image of a model that is no run [default: the model's]
    #[arg(long, value_name = "C,H,W", value_parser = sample_shape)]
    pub input: Option<[usize; 3]>,
    /// Number of classes of a model that is no run [default: the model's]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub classes: Option<u32>,
}

/// What `wgrad export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// The format of onnxruntime and many others.
    Onnx,
    /// Weights and a description.
    Safetensors,
    /// A module of Python and weights.
    Pytorch,
}

/// `wgrad export`
pub(super) fn run(args: &ExportArgs) -> Result<()> {
    if args.fold_batch_norm && args.format != ExportFormat::Onnx {
        return Err(Error::Recipe("--fold-batch-norm goes with --format onnx".to_string()));
    }
    let (about, model, file) = if args.run.is_dir() { of_run(args)? } else { of_model(args)? };
    let exported = Exported { model: &model, tensors: &file.tensors, about: &about };
    let extension = match args.format {
        ExportFormat::Onnx => "onnx",
        ExportFormat::Safetensors => "safetensors",
        ExportFormat::Pytorch => "py",
    };
    let folder = if args.run.is_dir() { args.run.as_path() } else { Path::new("") };
    let out = args.out.clone().unwrap_or_else(|| folder.join("exported").with_added_extension(extension));
    let mut written = vec![out.clone()];
    match args.format {
        ExportFormat::Onnx => files::write_bytes(&out, onnx(&exported, args.fold_batch_norm)?)?,
        ExportFormat::Safetensors => {
            let description = out.with_extension("json");
            TensorFile { metadata: Default::default(), ..file }.write(&out)?;
            files::write_bytes(&description, describe(&about, &model)?)?;
            written.push(description);
        }
        ExportFormat::Pytorch => {
            let beside = out.with_extension("safetensors");
            let name = beside.file_name().unwrap_or_default().to_string_lossy();
            files::write_bytes(&out, pytorch(&exported, &name)?)?;
            TensorFile { metadata: Default::default(), ..file }.write(&beside)?;
            written.push(beside);
        }
    }
    let written: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    say(format!("{} written to {}", model.name(), written.join(" and ")));
    Ok(())
}

fn of_run(args: &ExportArgs) -> Result<(RunModel, Model, TensorFile)> {
    if args.init.is_some() || args.input.is_some() || args.classes.is_some() {
        let message = "--init, --input and --classes are for a model; a run has weights and sizes of its own";
        return Err(Error::Recipe(message.to_string()));
    }
    args.weights.read(&Run::open(&args.run)?)
}

fn of_model(args: &ExportArgs) -> Result<(RunModel, Model, TensorFile)> {
    let name = args.run.to_string_lossy();
    let model = model::load(&name, args.input, args.classes)?;
    let (graph, output) = model.graph(Mode::Eval, 1)?;
    let mut file = TensorFile { tensors: weights::initial(&graph, args.seed), ..Default::default() };
    if let Some(path) = &args.init {
        let leftovers = weights::merge(&mut file.tensors, &TensorFile::read(path)?, path)?;
        if let Some(missing) = leftovers.missing.first() {
            return Err(Error::file(path, format!("has no \"{missing}\"; is it of another model?")));
        }
    }
    let classes = graph.shape(output).get(1).copied().unwrap_or(0);
    let about = RunModel {
        image: model.input(),
        classes: (0..classes).map(|class| class.to_string()).collect(),
        normalization: None,
        resize: None,
        model: model.to_toml().unwrap_or_default().to_string(),
    };
    Ok((about, model, file))
}

/// What is to be known to use the weights.
#[derive(Serialize)]
struct Description<'a> {
    classes: &'a [String],
    image: [usize; 3],
    mean: Option<&'a [f32]>,
    std: Option<&'a [f32]>,
    resize: Option<usize>,
    model: &'a str,
}

fn describe(about: &RunModel, model: &Model) -> Result<Vec<u8>> {
    let normalization = about.normalization.as_ref();
    let description = Description {
        classes: &about.classes,
        image: about.image,
        mean: normalization.map(|normalization| &normalization.mean[..]),
        std: normalization.map(|normalization| &normalization.std[..]),
        resize: about.resize,
        model: model.to_toml().unwrap_or_default(),
    };
    serde_json::to_vec_pretty(&description).map_err(|error| Error::Data(error.to_string()))
}
