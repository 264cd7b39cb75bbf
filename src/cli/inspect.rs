use serde::Serialize;

use super::report::{align_numbers, say, table};
use super::{InspectArgs, model};
use crate::error::{Error, Result};
use crate::graph::{Capabilities, Mode};
use crate::models::{LayerRow, summary};
use crate::optim::Sgd;
use crate::plan::{self, Plan, Program};
use crate::train::Device;
use crate::train::program::{EVAL, TRAIN, Task, training};

#[derive(Serialize)]
struct Inspection {
    model: String,
    batch_size: usize,
    layers: Vec<LayerRow>,
    parameters: u64,
    statistics: u64,
    forward_flops: u64,
    memory: Memory,
}

/// Bytes on the device while training.
#[derive(Serialize)]
struct Memory {
    parameters: u64,
    gradients: u64,
    optimizer_slot: u64,
    statistics: u64,
    train_activations: u64,
    eval_activations: u64,
    peak: u64,
}

/// `wgrad inspect`
pub(super) fn run(args: &InspectArgs) -> Result<()> {
    let model = model::load(&args.model, args.input, args.classes)?;
    let batch_size = args.batch_size as usize;
    let (graph, output) = model.graph(Mode::Train, batch_size)?;
    let classes = graph.shape(output).last().copied().unwrap_or(1);
    let totals = summary(&graph);
    let task =
        Task { image: model.input(), classes, batch_size, label_smoothing: 0.0, precision: args.precision };
    let update = std::sync::Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: false });
    let program = training(&model, &task, update, 0.0, &Device::Cpu)?;
    let train = Plan::lower(&program, &program.graphs[TRAIN], &unlimited())?;
    let eval = Plan::lower(&program, &program.graphs[EVAL], &unlimited())?;
    let inspection = Inspection {
        model: model.name().to_string(),
        batch_size,
        layers: totals.rows,
        parameters: totals.parameters,
        statistics: totals.statistics,
        forward_flops: totals.flops,
        memory: memory(&program, &train, &eval),
    };
    if args.json {
        say(serde_json::to_string_pretty(&inspection).map_err(|error| Error::Model(error.to_string()))?);
        return Ok(());
    }
    print(&inspection);
    if args.plan {
        say(plan::describe(&train));
    }
    Ok(())
}

/// A plan to look at is made for a device without limits; one that is run respects the device's.
fn unlimited() -> Capabilities {
    Capabilities { max_storage_binding: u64::MAX, max_buffer: u64::MAX, ..Capabilities::PORTABLE }
}

fn memory(program: &Program, train: &Plan, eval: &Plan) -> Memory {
    let (parameters, statistics) = (program.pages.parameters.bytes(), program.pages.statistics.bytes());
    let (train_activations, eval_activations) = (train.temporary_bytes(), eval.temporary_bytes());
    let inputs: usize =
        [train, eval].iter().flat_map(|plan| plan.inputs.values()).map(|desc| desc.bytes()).sum();
    let slots = program.slots().len() as u64;
    Memory {
        parameters,
        gradients: parameters,
        optimizer_slot: parameters,
        statistics: 2 * statistics,
        train_activations,
        eval_activations,
        peak: (2 + slots) * parameters
            + 2 * statistics
            + train_activations
            + eval_activations
            + inputs as u64,
    }
}

fn print(inspection: &Inspection) {
    let mut rows = table(&["layer", "operator", "output", "parameters", "MFLOP"]);
    for row in &inspection.layers {
        let flops = format!("{:.3}", row.flops as f64 / 1e6);
        rows.add_row([
            row.name.clone(),
            row.operator.to_string(),
            row.output.to_string(),
            row.parameters.to_string(),
            flops,
        ]);
    }
    align_numbers(&mut rows);
    say(rows);
    let Inspection { batch_size, memory, .. } = inspection;
    say(format!(
        "{}: {} parameters, {} running statistics, {:.3} MFLOP forward for a batch of {batch_size}",
        inspection.model,
        inspection.parameters,
        inspection.statistics,
        inspection.forward_flops as f64 / 1e6
    ));
    let mib = |bytes: u64| format!("{:.2} MiB", bytes as f64 / 1048576.0);
    say(format!(
        "memory of a training run with SGD and momentum: parameters {}, gradients {}, momentum {}, activations {} for \
         training and {} for evaluation; peak {}",
        mib(memory.parameters),
        mib(memory.gradients),
        mib(memory.optimizer_slot),
        mib(memory.train_activations),
        mib(memory.eval_activations),
        mib(memory.peak)
    ));
}
