use std::path::PathBuf;

use clap::Args;

use super::device;
use super::eval::{self, Network};
use super::report::say;
use super::train::Prepared;
use crate::data::DataSource;
use crate::error::Result;
use crate::files;
use crate::report::{Findings, Record, page, tensorboard, write_csv};
use crate::train::recipe::ResolvedRecipe;
use crate::train::{Device, DeviceChoice, Run, Trained, Trainer};

/// The arguments of `wgrad report`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad report runs/digits-cnn --out digits.html")]
pub struct ReportArgs {
    /// The folder of the run
    pub run: PathBuf,
    /// The page's file [default: report.html in the run's folder, with metrics.csv beside it]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The data set whose test samples are used, as in `wgrad eval` [default: the run's]
    #[arg(long, value_name = "SOURCE")]
    pub data: Option<DataSource>,
    /// Write TensorBoard's events of the run into its folder instead of the page; needs no data
    #[arg(long, conflicts_with_all = ["out", "data"])]
    pub tensorboard: bool,
    /// Where to compute: auto, cpu, gpu, or an index or a name from `wgrad devices`
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
}

/// `wgrad report`
pub(super) fn run(args: &ReportArgs) -> Result<()> {
    let record = Record::read(&args.run)?;
    for warning in &record.warnings {
        eprintln!("warning: {warning}");
    }
    let run = Run::open(&args.run)?;
    if args.tensorboard {
        return convert(&run, &record);
    }
    let device = device::open(&args.device, false)?;
    let (page, missing) = match look(&run, args, &device, &record) {
        Ok(page) => (page, None),
        // The curves are worth a page, though the data set is no longer there or the model is damaged. What was asked for
        // by name has to be there.
        Err(error) if args.data.is_none() => {
            let note = format!("without an evaluation, because {error}");
            let model = run.read_model().ok();
            let model = model.as_ref().map(|(_, _, weights)| &weights.tensors);
            let page = page(&record, &Findings { model, notes: vec![note.clone()], ..Findings::default() })?;
            (page, Some(note))
        }
        Err(error) => return Err(error),
    };
    if let Some(note) = missing {
        eprintln!("warning: the page is {note}");
    }
    let path = match &args.out {
        Some(path) => path.clone(),
        None => {
            write_csv(&record, &run.file("metrics.csv"))?;
            run.file("report.html")
        }
    };
    files::write_bytes(&path, page)?;
    say(format!("report written to {}", path.display()));
    Ok(())
}

/// Writes what the folder tells as TensorBoard's events.
fn convert(run: &Run, record: &Record) -> Result<()> {
    let model = run.read_model().map(|(_, _, weights)| weights.tensors);
    if let Err(error) = &model {
        eprintln!("warning: without weights and filters, because {error}");
    }
    let events = tensorboard::convert(record, model.ok().as_ref(), &run.path)?;
    say(format!("events written to {}", events.path().display()));
    Ok(())
}

/// Evaluates the run's model and times a step of it.
fn look(run: &Run, args: &ReportArgs, device: &Device, record: &Record) -> Result<String> {
    let (about, model, weights) = run.read_model()?;
    let mut recipe = ResolvedRecipe::load(&run.file("recipe.toml"))?;
    let data = eval::test_data(&recipe, args.data.as_ref(), &about, false)?;
    let model = model.averaging(recipe.control.tta.views());
    let network = Network { about: &about, model: &model, weights: &weights };
    let evaluation = network.evaluate(&data, recipe.batch_size, device, run)?;
    // Another data set may be smaller.
    recipe.batch_size = recipe.batch_size.min(data.train.len());
    let normalization = about.normalization.clone();
    let prepared = Prepared { recipe, data, model, normalization, head: vec![], imported: None };
    let trainer = prepared.trainer(device)?;
    let memory = trainer.memory()?;
    let kernels = pollster::block_on(trainer.profile())?;
    let findings = Findings {
        classes: &about.classes,
        evaluation: Some(&evaluation),
        test: Some(&prepared.data.test),
        model: Some(&weights.tensors),
        kernels: &kernels,
        memory: Some(memory),
        device: Some(device.name()),
        notes: evaluated(&prepared.recipe).into_iter().collect(),
    };
    page(record, &findings)
}

/// How the run's model was evaluated, where that is out of the ordinary.
fn evaluated(recipe: &ResolvedRecipe) -> Option<String> {
    recipe.control.tta.remark().map(|remark| format!("the model was evaluated {remark}"))
}

/// Writes the page of a run that has ended; without an evaluation if it was interrupted. A run is not lost because its page
/// cannot be written.
pub(super) fn after_training(
    run: &Run,
    prepared: &Prepared,
    trained: Option<&Trained>,
    trainer: Trainer<'_>,
    device: &Device,
) {
    if let Err(error) = conclude(run, prepared, trained, trainer, device) {
        eprintln!("warning: the report is not written: {error}");
    }
}

fn conclude(
    run: &Run,
    prepared: &Prepared,
    trained: Option<&Trained>,
    mut trainer: Trainer<'_>,
    device: &Device,
) -> Result<()> {
    let record = Record::read(&run.path)?;
    let (memory, model) = (trainer.memory()?, pollster::block_on(trainer.model())?);
    let mut findings = Findings {
        classes: &prepared.data.classes,
        evaluation: trained.map(|trained| &trained.evaluation),
        test: Some(&prepared.data.test),
        model: Some(&model),
        memory: Some(memory),
        device: Some(device.name()),
        ..Findings::default()
    };
    let kernels;
    if trained.is_some() {
        findings.notes.extend(evaluated(&prepared.recipe));
        kernels = pollster::block_on(trainer.profile())?;
        findings.kernels = &kernels;
    } else {
        findings.notes.push("this run was interrupted; `wgrad report` evaluates it as it is".to_string());
    }
    write_csv(&record, &run.file("metrics.csv"))?;
    files::write_bytes(&run.file("report.html"), page(&record, &findings)?)
}
