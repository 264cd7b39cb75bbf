//! Twenty training steps of whole networks: losses, gradient norms, learning rates, and all that the last step leaves
//! behind. `scripts/golden_networks.py` says what the goldens hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use wgrad::graph::{ParameterGroup, Step, Update};
use wgrad::optim::{Adam, Anneal, Curve, RunLength, Schedule, Sgd, Unit, Warmup};
use wgrad::plan::{Optimizer, PageList, PageSet, Program, StepReport};
use wgrad::train::program::{EVAL, TRAIN, Task, eval_graph, train_graph};
use wgrad::train::recipe::Precision;

use super::device::{Device, Session, devices};
use super::golden::{Golden, Tensor, files, pages};
use super::networks::model;

/// The metadata `train` of a network's golden.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    optimizer: String,
    args: Args,
    schedule: String,
    schedule_args: BTreeMap<String, f64>,
    min_lr: f64,
    warmup_steps: u64,
    total_steps: u64,
    label_smoothing: f32,
    clip_norm: Option<f32>,
}

/// PyTorch's arguments; those that are left out have PyTorch's defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Args {
    lr: f64,
    momentum: f64,
    nesterov: bool,
    weight_decay: f32,
}

impl Settings {
    fn update(&self) -> Arc<dyn Update> {
        let Args { momentum, nesterov, .. } = self.args;
        match self.optimizer.as_str() {
            "sgd" => Arc::new(Sgd { momentum, dampening: 0.0, nesterov }),
            name => Arc::new(Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled: name == "adamw" }),
        }
    }

    fn schedule(&self) -> Schedule {
        assert!(self.schedule_args.is_empty(), "{self:?}");
        let curve = match self.schedule.as_str() {
            "constant" => Curve::Constant,
            "cosine" => Curve::Cosine { min_lr: self.min_lr },
            "one_cycle" => {
                let anneal = Anneal::Cosine;
                Curve::OneCycle { pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e4, anneal }
            }
            other => panic!("a golden has the schedule {other}"),
        };
        Schedule { lr: self.args.lr, warmup: Warmup::Steps(self.warmup_steps), curve, unit: Unit::Step }
    }

    fn step(&self, done: u64) -> Step {
        Step {
            step: done as u32,
            learning_rate: self
                .schedule()
                .learning_rate(done, RunLength { steps: self.total_steps, steps_per_epoch: 1 })
                as f32,
            clip_norm: self.clip_norm.unwrap_or(f32::INFINITY),
            optimizer: self.update().step_numbers(done as u32 + 1),
            ..Step::default()
        }
    }
}

fn program(name: &str, file: &Golden, settings: &Settings) -> Program {
    let model = model(name, file);
    let [_, batch_size, ..] = file.tensors["images"].shape()[..] else {
        panic!("images have five dimensions")
    };
    let classes = file.tensors["want.logits_eval"].shape()[1];
    let task = Task {
        image: model.input(),
        classes,
        batch_size,
        label_smoothing: settings.label_smoothing,
        precision: Precision::F32,
    };
    let graphs = vec![train_graph(&model, &task).unwrap(), eval_graph(&model, &task).unwrap()];
    let group = ParameterGroup { rate: 1.0, weight_decay: settings.args.weight_decay };
    let groups = vec![group; graphs[TRAIN].parameters().len()];
    Program::new(graphs, Some(Optimizer::new(settings.update(), groups)), 128 << 20).unwrap()
}

#[test]
fn training_follows_pytorch() {
    let files = files("networks");
    assert_eq!(files.len(), 3);
    let mut failures = vec![];
    for device in devices() {
        for (name, file) in &files {
            let problems = check(&device, name, file).unwrap_or_else(|error| vec![error]);
            failures.extend(problems.iter().map(|problem| format!("{name} on {device}: {problem}")));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Trains and says what differs.
fn check(device: &Device, name: &str, file: &Golden) -> Result<Vec<String>, String> {
    let settings: Settings = serde_json::from_str(&file.metadata["train"]).unwrap();
    let program = Arc::new(program(name, file, &settings));
    let parameters = pages(&program.pages.parameters, &file.tensors, "init.")?;
    let statistics = pages(&program.pages.statistics, &file.tensors, "init.")?;
    let mut session = device.open(&program, [&parameters, &statistics])?;
    let mut reports = vec![];
    for done in 0..settings.total_steps {
        let [images, labels] = ["images", "labels"].map(|name| file.tensors[name].at(done as usize));
        let inputs = [("images", &images), ("labels", &labels)];
        let (report, _) = session.run(&program, TRAIN, &inputs, &settings.step(done))?;
        reports.push(report.ok_or("a training step gave no report")?);
    }
    if let Some(bad) = reports.iter().zip(1..).find(|(report, step)| report.halted || report.step != *step) {
        return Err(format!("{bad:?}"));
    }
    let got = results(&program, file, &settings, &mut session, &reports)?;
    let atol: BTreeMap<String, f64> = serde_json::from_str(&file.metadata["atol"]).unwrap();
    assert_eq!(atol.keys().collect::<Vec<_>>(), got.keys().collect::<Vec<_>>(), "{name}: what is compared");
    let compare = |(name, got): (&String, &Vec<f64>)| {
        let compared = file.tensors[name].compare(got, atol[name]);
        compared.err().map(|message| format!("{name}{message}"))
    };
    Ok(got.iter().filter_map(compare).collect())
}

/// All that the golden wants, by its names.
fn results(
    program: &Program,
    file: &Golden,
    settings: &Settings,
    session: &mut Session,
    reports: &[StepReport],
) -> Result<BTreeMap<String, Vec<f64>>, String> {
    let schedule = settings.schedule();
    let run = RunLength { steps: settings.total_steps, steps_per_epoch: 1 };
    let rates = (0..settings.total_steps).map(|done| schedule.learning_rate(done, run));
    let mut got = BTreeMap::from([
        ("want.lr".to_string(), rates.collect()),
        ("want.loss".to_string(), reports.iter().map(|report| f64::from(report.loss)).collect()),
        ("want.grad_norm".to_string(), reports.iter().map(|report| f64::from(report.grad_norm)).collect()),
    ]);
    let lists = [
        (PageList::Parameters, &program.pages.parameters),
        (PageList::Statistics, &program.pages.statistics),
    ];
    for (list, set) in lists {
        let pages = session.pages(list)?;
        got.extend(tensors(set, &pages).map(|(name, values)| (format!("want.final.{name}"), values)));
    }
    let [images, labels] = ["images", "labels"].map(|name| file.tensors[name].at(0));
    let inputs: [(&str, &Tensor); 2] = [("images", &images), ("labels", &labels)];
    let (_, mut outputs) = session.run(program, EVAL, &inputs, &Step::default())?;
    got.insert("want.logits_eval".to_string(), outputs.remove("logits").ok_or("there are no logits")?);
    Ok(got)
}

/// Each tensor's values in physical order.
fn tensors<'a>(set: &'a PageSet, pages: &'a [Vec<f64>]) -> impl Iterator<Item = (&'a str, Vec<f64>)> {
    set.tensors().iter().map(|(name, _, spans)| {
        let parts = spans.iter().map(|span| &pages[span.page][span.offset..span.offset + span.len]);
        (name.as_str(), parts.collect::<Vec<_>>().concat())
    })
}
