use std::sync::Arc;

use super::TuneArgs;
use super::device::{open, report_notes};
use super::report::Column::{Number, Text};
use super::report::{bar, say, table};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::Mode;
use crate::models::ModelSpec;
use crate::train::program::{Task, train_graph};
use crate::train::tune::{TuneOptions, TuningTable, Verdict, tune};
use crate::train::{CacheFolder, Device, DeviceChoice};

/// `wgrad tune`
pub(super) fn run(args: &TuneArgs) -> Result<()> {
    let gpu = open_gpu(args)?;
    let cache = CacheFolder::of_user();
    let mut known = match &args.import {
        Some(path) => TuningTable::import(path, &gpu)?,
        None if args.again => TuningTable::new(&gpu.name, &gpu.driver),
        None => cache.as_ref().map_or_else(
            || TuningTable::new(&gpu.name, &gpu.driver),
            |cache| TuningTable::load(&gpu.name, &gpu.driver, cache),
        ),
    };
    let mut verdicts = vec![];
    if let Some(name) = &args.model {
        tune_model(args, name, &gpu, &mut known, &mut verdicts)?;
    }
    if let Some(cache) = &cache {
        known.save(cache)?;
        report_notes(cache);
    }
    if let Some(path) = &args.export {
        known.export(path)?;
    }
    if args.json {
        say(serde_json::to_string_pretty(&verdicts).map_err(|error| Error::Model(error.to_string()))?);
        return Ok(());
    }
    print(&verdicts);
    let kept = if cache.is_some() { "kept" } else { "not kept, because WGRAD_CACHE is off" };
    say(format!("{}: {} choices, {kept}", gpu.name, known.choices.len()));
    Ok(())
}

fn open_gpu(args: &TuneArgs) -> Result<Arc<Gpu>> {
    let choice = if args.device == DeviceChoice::Auto { DeviceChoice::Gpu } else { args.device.clone() };
    match open(&choice, !args.exact)? {
        Device::Gpu(gpu) => Ok(gpu),
        Device::Cpu => Err(Error::Recipe("only GPUs are tuned; give gpu, an index or a name".to_string())),
    }
}

fn tune_model(
    args: &TuneArgs,
    name: &str,
    gpu: &Arc<Gpu>,
    known: &mut TuningTable,
    verdicts: &mut Vec<Verdict>,
) -> Result<()> {
    let spec = ModelSpec::load(name)?;
    let model = match args.input {
        Some(image) => spec.bind(image, args.classes.map_or(10, |classes| classes as usize))?,
        None => spec.unbound()?,
    };
    let (graph, output) = model.graph(Mode::Train, 2)?;
    let classes = graph.shape(output).last().copied().unwrap_or(1);
    let (image, batch_size) = (model.input(), args.batch_size as usize);
    let task = Task { image, classes, batch_size, label_smoothing: 0.0, precision: args.precision };
    let graph = train_graph(&model, &task)?;
    let bar = bar(1, "tuning {wide_bar} {pos}/{len}  {msg}", args.json);
    let options = TuneOptions { budget: None, inexact: !args.exact };
    let mut observe = |verdict: &Verdict, done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64 + 1);
        bar.set_message(verdict.node.clone());
        verdicts.push(verdict.clone());
    };
    pollster::block_on(tune(gpu, &graph, known, options, &mut observe))?;
    bar.finish_and_clear();
    Ok(())
}

fn print(verdicts: &[Verdict]) {
    if verdicts.is_empty() {
        return;
    }
    let mut rows = table(&[
        Text("a node with these sizes"),
        Text("chosen"),
        Number("ms"),
        Number("default ms"),
        Number("refused"),
    ]);
    for verdict in verdicts {
        let ms = |ms: Option<f64>| ms.map_or(String::new(), |ms| format!("{ms:.3}"));
        let chosen = verdict.tried.iter().find(|tried| tried.configuration == verdict.chosen);
        let refused = verdict.tried.iter().filter(|tried| tried.refused.is_some()).count();
        rows.add_row([
            verdict.node.clone(),
            verdict.chosen.clone(),
            ms(chosen.and_then(|tried| tried.ms)),
            ms(verdict.tried.first().and_then(|tried| tried.ms)),
            refused.to_string(),
        ]);
    }
    say(rows);
    for (verdict, tried) in verdicts.iter().flat_map(|v| v.tried.iter().map(move |tried| (v, tried))) {
        if let Some(reason) = &tried.refused {
            say(format!("{} {}: {reason}", verdict.node, tried.configuration));
        }
    }
}
