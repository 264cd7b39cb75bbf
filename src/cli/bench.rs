use super::BenchArgs;
use super::device;
use super::report::{align_numbers, say, table};
use crate::error::{Error, Result};
use crate::graph::Mode;
use crate::models::ModelSpec;
use crate::train::benchmark;
use crate::train::program::Task;

/// `wgrad bench`
pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let spec = ModelSpec::load(&args.model)?;
    let model = match args.input {
        Some(image) => spec.bind(image, 10)?,
        None => spec.unbound()?,
    };
    let device = device::open(&args.device)?;
    let (graph, output) = model.graph(Mode::Train, 2)?;
    let classes = graph.shape(output).last().copied().unwrap_or(1);
    let batch_size = args.batch_size as usize;
    let task = Task { image: model.input(), classes, batch_size, label_smoothing: 0.0 };
    let steps = args.steps as usize;
    let measured = pollster::block_on(benchmark(&model, &task, &device, steps.div_ceil(10).max(3), steps))?;
    if args.json {
        say(serde_json::to_string_pretty(&measured).map_err(|error| Error::Model(error.to_string()))?);
        return Ok(());
    }
    say(format!(
        "{} on {}, batches of {batch_size}, {} steps",
        measured.model, measured.device, measured.steps
    ));
    say(format!(
        "{:.2} ms/step (median; {:.2} to {:.2} for 8 in 10 steps), {:.0} img/s, {:.2} GFLOP/s",
        measured.ms_per_step,
        measured.ms_per_step_p10,
        measured.ms_per_step_p90,
        measured.img_per_s,
        measured.gflop_per_s
    ));
    say(format!("{:.0} ms to the end of the first step", measured.ms_to_first_step));
    if let Some(bytes) = measured.device_bytes {
        say(format!("{:.1} MiB on the device", bytes as f64 / 1048576.0));
    }
    if !measured.kernels.is_empty() {
        let mut kernels = measured.kernels.clone();
        kernels.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut rows = table(&["slowest kernels, each run by itself", "ms"]);
        for (label, ms) in kernels.iter().take(10) {
            rows.add_row([label.clone(), format!("{ms:.3}")]);
        }
        align_numbers(&mut rows);
        say(rows);
    }
    Ok(())
}
