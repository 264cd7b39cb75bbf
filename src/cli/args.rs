//! The arguments of all commands but `train`.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, value_parser};

use super::train_args::Ui;
use crate::data::DataSource;
use crate::error::Result;
use crate::models::Model;
use crate::train::control::{Choice, Tta};
use crate::train::recipe::{DeviceChoice, OptimizerName, Precision, Recompute, ResolvedRecipe};
use crate::train::weights::TensorFile;
use crate::train::{Run, RunModel};

/// The arguments of `wgrad resume`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad resume runs/digits-cnn")]
pub struct ResumeArgs {
    /// The folder of the run
    pub run: PathBuf,
    /// Print JSON, as in `wgrad train`
    #[arg(long)]
    pub json: bool,
    /// How progress is shown
    #[arg(long, value_name = "HOW", default_value = "auto", conflicts_with = "json")]
    pub ui: Ui,
}

/// Which weights of a run are meant.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct WeightsArgs {
    /// Which weights: last, best, or a number of steps whose checkpoint was kept
    #[arg(long, value_name = "WHICH", default_value_t)]
    pub checkpoint: Choice,
    /// Use the running averages of the weights, which --ema-decay of `wgrad train` keeps
    #[arg(long)]
    pub ema: bool,
}

impl WeightsArgs {
    pub(super) fn read(&self, run: &Run) -> Result<(RunModel, Model, TensorFile)> {
        run.read_chosen(self.checkpoint, self.ema)
    }
}

/// The views of an image that are averaged.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct TtaArgs {
    /// Average the logits of views of each image: none, flip, translate or flip-translate [default: the run's]
    #[arg(long, value_name = "VIEWS", hide_possible_values = true)]
    pub tta: Option<Tta>,
}

impl TtaArgs {
    /// The model as it evaluates.
    pub(super) fn averaging(&self, model: Model, run: &Run) -> Result<Model> {
        let of_run = || ResolvedRecipe::load(&run.file("recipe.toml")).map(|recipe| recipe.control.tta);
        Ok(model.averaging(self.tta.map_or_else(of_run, Ok)?.views()))
    }
}

/// The arguments of `wgrad eval`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(
    after_help = "Example:\n  wgrad eval runs/mnist --data folder:my-digits --logits logits.safetensors"
)]
pub struct EvalArgs {
    /// The folder of the run
    pub run: PathBuf,
    /// The data set whose test samples are used: digits, mnist:DIR, fashion-mnist:DIR, cifar10:DIR, cifar100:DIR,
    /// folder:DIR or tensors:FILE.safetensors [default: the run's]
    #[arg(long, value_name = "SOURCE")]
    pub data: Option<DataSource>,
    /// Which weights
    #[command(flatten)]
    pub weights: WeightsArgs,
    /// Views of an image
    #[command(flatten)]
    pub tta: TtaArgs,
    /// Also print the confusion matrix
    #[arg(long)]
    pub confusion: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write the network's outputs and the labels to this safetensors file
    #[arg(long, value_name = "FILE")]
    pub logits: Option<PathBuf>,
    /// Where to compute: auto, cpu, gpu, or an index or a name from `wgrad devices`
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
    /// Samples computed at once [default: the run's]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub batch_size: Option<u32>,
}

/// The arguments of `wgrad download`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad download fashion-mnist --to data/fashion-mnist")]
pub struct DownloadArgs {
    /// The data set: mnist, fashion-mnist, cifar10 or cifar100
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The folder for its files [default: data/NAME]
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Say nothing but errors
    #[arg(long)]
    pub quiet: bool,
}

/// The arguments of `wgrad devices`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad devices")]
pub struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `wgrad inspect`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad inspect resnet18-cifar --batch-size 128 --plan")]
pub struct InspectArgs {
    /// A built-in model's name, a TOML file or a run's folder
    pub model: String,
    /// Samples in a step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u32).range(1..))]
    pub batch_size: u32,
    /// Channels, height and width of a sample [default: the model's]
    #[arg(long, value_name = "C,H,W", value_parser = sample_shape)]
    pub input: Option<[usize; 3]>,
    /// Number of classes [default: the model's]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub classes: Option<u32>,
    /// The type of activations and their gradients: f32 or f16
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub precision: Precision,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Draw the network into an SVG file
    #[arg(long, value_name = "FILE.svg", value_parser = ending("svg"))]
    pub graph: Option<PathBuf>,
    /// Also print every dispatch and buffer of the training step
    #[arg(long)]
    pub plan: bool,
}

/// The arguments of `wgrad bench`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(
    after_help = "Example:\n  wgrad bench --model small-cnn --batch-size 64 --device gpu --profile\n  wgrad bench --model digits-cnn --batch-size 1 --inference --steps 1000"
)]
pub struct BenchArgs {
    /// A built-in model's name, a TOML file or a run's folder
    #[arg(long, value_name = "MODEL")]
    pub model: String,
    /// Samples in a step
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub batch_size: u32,
    /// Where to compute: auto, cpu, gpu, or an index or a name from `wgrad devices`
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
    /// Channels, height and width of a sample [default: the model's]
    #[arg(long, value_name = "C,H,W", value_parser = sample_shape)]
    pub input: Option<[usize; 3]>,
    /// Number of classes [default: the model's]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub classes: Option<u32>,
    /// The type of activations and their gradients: f32 or f16
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub precision: Precision,
    /// Optimizer, with PyTorch's settings
    #[arg(long, value_name = "NAME", default_value = "sgd")]
    pub optimizer: OptimizerName,
    /// Momentum of SGD
    #[arg(long, value_name = "X", default_value_t = 0.9)]
    pub momentum: f64,
    /// Steps to measure, after those that are not counted
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(1..))]
    pub steps: u32,
    /// Steps that are not counted, besides the first [default: a tenth of the others, at least 3]
    #[arg(long, value_name = "N")]
    pub warmup: Option<u32>,
    /// Measure predictions, one batch after the other, instead of training steps
    #[arg(long, conflicts_with_all = ["optimizer", "momentum", "recompute", "input_pipeline"])]
    pub inference: bool,
    /// Compute layer by layer, without the fusion of neighbouring operators, to see what that gains
    #[arg(long)]
    pub unfused: bool,
    /// Make cheap activations again in the backward pass instead of keeping them; auto does on the CPU
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub recompute: Recompute,
    /// Also time each kernel of a step, and show how far from the device's limits it is
    #[arg(long)]
    pub profile: bool,
    /// Write the profile as a trace for Perfetto or Chrome
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Multiply matrices of f16 cooperatively where the device is proved to (see `wgrad train --help`)
    #[arg(long)]
    pub cooperative: bool,
    /// Measure the way of a data set's images to the network, with the network and without
    #[arg(long)]
    pub input_pipeline: bool,
    /// The recipe of --input-pipeline, whose data and augmentation are used
    #[arg(long, value_name = "RECIPE.toml", requires = "input_pipeline")]
    pub recipe: Option<PathBuf>,
    /// The data set of --input-pipeline, as in `wgrad train` [default: the recipe's, or digits]
    #[arg(long, value_name = "SOURCE", requires = "input_pipeline")]
    pub data: Option<DataSource>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `wgrad tune`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad tune --model resnet18-cifar --batch-size 128 --device gpu")]
#[command(group = ArgGroup::new("what").args(["model", "import"]).required(true).multiple(true))]
pub struct TuneArgs {
    /// Try the kernels of a training step of this built-in model or TOML file
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Samples in a step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u32).range(1..))]
    pub batch_size: u32,
    /// Channels, height and width of a sample [default: the model's]
    #[arg(long, value_name = "C,H,W", value_parser = sample_shape)]
    pub input: Option<[usize; 3]>,
    /// Number of classes, with --input [default: 10]
    #[arg(long, value_name = "N", requires = "input", value_parser = value_parser!(u32).range(1..))]
    pub classes: Option<u32>,
    /// The type of activations and their gradients: f32 or f16
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub precision: Precision,
    /// The GPU: gpu, or an index or a name from `wgrad devices`
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
    /// Only kernels that give the same bits as the portable ones
    #[arg(long)]
    pub exact: bool,
    /// Forget what is kept for this device and try everything again
    #[arg(long, conflicts_with = "import")]
    pub again: bool,
    /// Begin with a table that was exported on a machine with the same GPU and driver
    #[arg(long, value_name = "FILE")]
    pub import: Option<PathBuf>,
    /// Write the table to a file
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `wgrad selftest`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad selftest --device gpu")]
pub struct SelftestArgs {
    /// Which device to check: auto, gpu, or an index or a name from `wgrad devices`
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `wgrad prove-cooperative`, which no user needs to know.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct ProveArgs {
    /// The adapter's place in `wgrad devices`
    #[arg(long)]
    pub device: usize,
    /// Rows and columns of a tile; 4 is the emulation, which works on every adapter
    #[arg(long)]
    pub size: u32,
    /// Invocations of a subgroup
    #[arg(long)]
    pub subgroup: u32,
    /// Whether sums leave through workgroup memory
    #[arg(long)]
    pub staged: bool,
}

pub(super) fn sample_shape(text: &str) -> Result<[usize; 3], String> {
    let sizes: Option<Vec<usize>> = text.split(',').map(|size| size.trim().parse().ok()).collect();
    let shape = sizes.and_then(|sizes| <[usize; 3]>::try_from(sizes).ok());
    shape
        .filter(|shape| !shape.contains(&0))
        .ok_or_else(|| "expected channels, height and width, such as 3,32,32".to_string())
}

/// Takes the name of a file that says what will be in it.
pub(super) fn ending(extension: &'static str) -> impl Fn(&str) -> Result<PathBuf, String> + Clone {
    move |name| {
        let found = Path::new(name).extension();
        match found.is_some_and(|found| found.eq_ignore_ascii_case(extension)) {
            true => Ok(PathBuf::from(name)),
            false => Err(format!("end the name in .{extension}")),
        }
    }
}
