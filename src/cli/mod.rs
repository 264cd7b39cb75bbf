//! The `wgrad` command: its arguments, its exit codes and how it says what went wrong.
//!
//! Exit codes: 0; 2 for a bad flag or recipe value; 130 after Ctrl-C; 1 for everything else.

mod args;
mod bench;
mod bench_input;
mod contact_sheet;
mod cooperative;
#[cfg(feature = "tui")]
mod dashboard;
mod device;
mod devices;
mod download;
mod eval;
mod explain;
mod export;
mod import;
mod inspect;
mod lr_find;
mod manual;
mod model;
mod pictures;
mod predict;
mod pretrained;
mod preview;
mod progress;
mod report;
mod report_run;
mod resume;
mod runs;
mod selftest;
#[cfg(feature = "serve")]
mod serve;
mod trace;
mod train;
mod train_args;
mod tune;

use std::process::ExitCode;
use std::time::Instant;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

pub use args::{
    BenchArgs, DevicesArgs, DownloadArgs, EvalArgs, InspectArgs, ProveArgs, ResumeArgs, SelftestArgs,
    TtaArgs, TuneArgs, WeightsArgs,
};
pub use export::{ExportArgs, ExportFormat};
pub use import::ImportArgs;
pub use lr_find::LrFindArgs;
pub use manual::{CompletionsArgs, ManArgs};
pub use predict::PredictArgs;
pub use preview::PreviewArgs;
pub use report_run::ReportArgs;
pub use runs::{CompareArgs, RunOrder, RunsArgs};
#[cfg(feature = "serve")]
pub use serve::ServeArgs;
pub use train_args::{TrainArgs, Ui};

use crate::error::{Error, Result};

/// Trains convolutional networks on any GPU that Vulkan, Metal or DX12 reaches, or on the CPU.
#[derive(Debug, Parser)]
#[command(name = "wgrad", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Example:
  wgrad train                          train on the built-in digits, with a network that suits them
  wgrad eval runs/digits-cnn           test the trained network again
  wgrad predict runs/digits-cnn 3.png  say what is in an image";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network; without arguments, one for the built-in digits
    Train(Box<TrainArgs>),
    /// Continue an interrupted run from its last checkpoint, to the same bits
    Resume(ResumeArgs),
    /// Test a trained network on its data set or on another
    Eval(EvalArgs),
    /// Say what is in images
    Predict(PredictArgs),
    /// Classify images over HTTP: JSON for programs, a page for people
    #[cfg(feature = "serve")]
    Serve(ServeArgs),
    /// Write a trained network for other tools: ONNX, PyTorch, safetensors
    Export(ExportArgs),
    /// Make a run of an ONNX file, to evaluate it, predict with it or serve it
    Import(ImportArgs),
    /// Write a page about a run: curves, mistakes, figures
    Report(ReportArgs),
    /// List the runs of a folder with their results
    Runs(RunsArgs),
    /// Show what runs differ in, in settings and results
    Compare(CompareArgs),
    /// Draw samples of a data set as training sees them: augmented, with their labels
    Preview(Box<PreviewArgs>),
    /// List the devices of this machine, as --device takes them
    Devices(DevicesArgs),
    /// Download a data set from its home
    Download(DownloadArgs),
    /// Show a model's layers, shapes, parameters, FLOPs and memory; needs no GPU
    Inspect(InspectArgs),
    /// Measure training steps or predictions of a model on random data
    Bench(BenchArgs),
    /// Find a learning rate: train with one that rises, and show the losses
    LrFind(Box<LrFindArgs>),
    /// Find the fastest kernels for a GPU and a model, each checked against the portable one
    Tune(TuneArgs),
    /// Compare every operator's kernels on this machine's GPU with the CPU path
    Selftest(SelftestArgs),
    /// Print a shell's completions of commands and flags
    Completions(CompletionsArgs),
    /// Write manual pages, one for each command
    Man(ManArgs),
    /// Try out an adapter's cooperative matrices; other commands start this by themselves
    #[command(hide = true)]
    ProveCooperative(ProveArgs),
}

/// Runs a subcommand of a process that `started` at this time.
pub fn run(command: Command, started: Instant) -> Result<()> {
    match command {
        Command::Train(args) => train::run(&args),
        Command::Resume(args) => resume::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Predict(args) => predict::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Report(args) => report_run::run(&args),
        Command::Runs(args) => runs::run(&args),
        Command::Compare(args) => runs::compare(&args),
        Command::Preview(args) => preview::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Download(args) => download::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Bench(args) => bench::run(&args, started),
        Command::LrFind(args) => lr_find::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::manual(&args),
        Command::ProveCooperative(args) => cooperative::run(&args),
    }
}

/// Parses the command line and runs the command; says in one line on standard error what went wrong.
pub fn main(run: impl FnOnce(Command) -> Result<()>) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Messages of drivers and parsers may have several lines.
            let text = error.to_string();
            let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            eprintln!("error: {}", lines.join("; "));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// The exit code that tells an error's kind.
pub fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Recipe(_) => 2,
        Error::Interrupted { .. } => 130,
        _ => 1,
    }
}

/// Prints what clap has to say: help and version as they are, errors in one line.
fn refuse(error: &clap::Error) -> ExitCode {
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand || !error.use_stderr();
    if is_help {
        // Nobody is left to tell if the help cannot be printed.
        let _ = error.print();
    } else {
        eprintln!("{}", one_line(error));
    }
    ExitCode::from(error.exit_code() as u8)
}

/// clap's message and its tips without the usage, which `--help` shows.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let mut message = String::new();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")) {
        let continues = message.is_empty() || message.ends_with(':') || line.starts_with('[');
        message.push_str(match (message.is_empty(), continues) {
            (true, _) => "",
            (false, true) => " ",
            (false, false) => "; ",
        });
        message.push_str(line);
    }
    message + "; --help lists all"
}

#[cfg(test)]
mod tests;
