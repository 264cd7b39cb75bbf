use serde::Serialize;

use super::report::Column::{Number, Text};
use super::report::{say, table};
use super::{InspectArgs, model};
use crate::error::{Error, Result};
use crate::files;
use crate::graph::{Capabilities, Mode};
use crate::models::{LayerRow, summary};
use crate::optim::Sgd;
use crate::plan::{self, MemoryUse, Plan, Program};
use crate::report::drawing;
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
    /// Bytes on the device while training.
    memory: MemoryUse,
    peak_bytes: u64,
    /// The same where activations are recomputed.
    recomputed_activations: u64,
    recomputed_peak_bytes: u64,
}

/// `wgrad inspect`
pub(super) fn run(args: &InspectArgs) -> Result<()> {
    let model = model::load(&args.model, args.input, args.classes)?;
    let batch_size = args.batch_size as usize;
    let (graph, output) = model.graph(Mode::Train, batch_size)?;
    let classes = graph.shape(output).last().copied().unwrap_or(1);
    let totals = summary(&graph);
    if let Some(path) = &args.graph {
        let drawing = drawing(model.name(), &graph)?;
        files::write_bytes(path, drawing)?;
    }
    let task =
        Task { image: model.input(), classes, batch_size, label_smoothing: 0.0, precision: args.precision };
    let update = std::sync::Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: false });
    let mut program = training(&model, &task, update, 0.0, &Device::Cpu)?;
    let plans = lower(&program)?;
    let memory = MemoryUse::of(&program, &plans);
    let [train, _] = plans;
    program.recompute()?;
    let recomputed = MemoryUse::of(&program, &lower(&program)?);
    let inspection = Inspection {
        model: model.name().to_string(),
        batch_size,
        layers: totals.rows,
        parameters: totals.parameters,
        statistics: totals.statistics,
        forward_flops: totals.flops,
        memory,
        peak_bytes: memory.total(),
        recomputed_activations: recomputed.activations,
        recomputed_peak_bytes: recomputed.total(),
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

/// The plans of training and evaluation.
fn lower(program: &Program) -> Result<[Plan; 2]> {
    let lower = |graph: usize| Plan::lower(program, &program.graphs[graph], &unlimited());
    Ok([lower(TRAIN)?, lower(EVAL)?])
}

/// A plan to look at is made for a device without limits; one that is run respects the device's.
fn unlimited() -> Capabilities {
    Capabilities { max_storage_binding: u64::MAX, max_buffer: u64::MAX, ..Capabilities::PORTABLE }
}

fn print(inspection: &Inspection) {
    let mut rows =
        table(&[Text("layer"), Text("operator"), Text("output"), Number("parameters"), Number("MFLOP")]);
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
        "memory of a training run with SGD and momentum: parameters {}, gradients {}, optimizer {}, statistics {}, \
         activations {}, data {}, other {}; {} in all",
        mib(memory.parameters),
        mib(memory.gradients),
        mib(memory.optimizer),
        mib(memory.statistics),
        mib(memory.activations),
        mib(memory.data),
        mib(memory.other),
        mib(inspection.peak_bytes)
    ));
    say(format!(
        "with activations recomputed in the backward pass, as on the CPU (--recompute): activations {}; {} in all",
        mib(inspection.recomputed_activations),
        mib(inspection.recomputed_peak_bytes)
    ));
}
