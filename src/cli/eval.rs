use std::sync::Arc;

use super::EvalArgs;
use super::device;
use super::report::{self, say};
use super::train::load_data;
use crate::data::{DataSource, LoadOptions};
use crate::error::{Error, Result};
use crate::plan::{PageList, Program};
use crate::tensor::HostTensor;
use crate::train::program::{self, Task};
use crate::train::recipe::Precision;
use crate::train::recipe::ResolvedRecipe;
use crate::train::weights::{self, TensorFile};
use crate::train::{Device, Evaluator, Feed, Placement, Run, RunModel, Session};

/// `wgrad eval`
pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let run = Run::open(&args.run)?;
    let (about, model, weights) =
        if args.ema { run.read_averages(args.checkpoint)? } else { run.read_chosen(args.checkpoint)? };
    let recipe = ResolvedRecipe::load(&run.file("recipe.toml"))?;
    let model = model.averaging(args.tta.unwrap_or(recipe.control.tta).views());
    let mut options = recipe.load_options();
    if let Some(other) = &args.data {
        // Its pictures are given the same size, but were not decoded into the run's file.
        let seed = options.seed;
        let of_folder = LoadOptions { cache: None, ..options };
        options = match other {
            DataSource::Folder(_) => of_folder,
            _ => LoadOptions { seed, ..LoadOptions::default() },
        };
    }
    let source = args.data.clone().unwrap_or(recipe.data);
    let data = load_data(&source, &options, args.json)?;
    if data.image != about.image || data.classes.len() != about.classes.len() {
        return Err(Error::Data(format!(
            "{source} has images of {:?} and {} classes, the run's model takes {:?} and {} classes",
            data.image,
            data.classes.len(),
            about.image,
            about.classes.len()
        )));
    }
    let device = device::open(&args.device, false)?;
    let batch_size = args.batch_size.map_or(recipe.batch_size, |size| size as usize).min(data.test.len());
    let task = task(&about, batch_size);
    let [_, feed] = Feed::choose(&data, &device, Placement::Auto);
    let program = program::inference_from(feed, &model, &task, &device)?;
    let mut session = pollster::block_on(load(program, &weights, &device, &run))?;
    pollster::block_on(feed.install(&mut session, &data.test, about.normalization.as_ref()))?;
    let mut evaluator = Evaluator { session: &mut session, graph: 0, task, feed };
    let evaluation = pollster::block_on(evaluator.run(&data.test))?;
    if args.json {
        say(report::evaluation_json(&evaluation, &about.classes)?);
    } else {
        say(report::evaluation(&evaluation, &about.classes));
        if args.confusion {
            say(report::confusion(&evaluation, &about.classes));
        }
    }
    if let Some(path) = &args.logits {
        let mut file = TensorFile::default();
        let shape = [data.test.len(), about.classes.len()];
        file.tensors.insert("logits".to_string(), HostTensor::new(shape, evaluation.logits));
        let labels = data.test.labels().iter().map(|label| i64::from(*label)).collect();
        file.integers.insert("labels".to_string(), (vec![data.test.len()], labels));
        file.write(path)?;
        if !args.json {
            say(format!("logits {shape:?} and labels written to {}", path.display()));
        }
    }
    Ok(())
}

/// What a run's model takes and gives.
pub(super) fn task(about: &RunModel, batch_size: usize) -> Task {
    Task {
        image: about.image,
        classes: about.classes.len(),
        batch_size,
        label_smoothing: 0.0,
        precision: Precision::F32,
    }
}

/// A session of a program that evaluates a run's model; every tensor must be in its file.
pub(super) async fn load(program: Program, file: &TensorFile, device: &Device, run: &Run) -> Result<Session> {
    let program = Arc::new(program);
    let mut session = Session::new(device, program.clone()).await?;
    let mut tensors = weights::initial(&program.graphs[0], 0);
    let path = run.file("model.safetensors");
    let leftovers = weights::merge(&mut tensors, file, &path)?;
    if let Some(name) = leftovers.missing.first() {
        return Err(Error::file(&path, format!("lacks \"{name}\"; the file is damaged")));
    }
    let [parameters, statistics] = weights::all_pages(&program.pages, &tensors);
    session.write_pages(PageList::Parameters, &parameters);
    session.write_pages(PageList::Statistics, &statistics);
    Ok(session)
}
