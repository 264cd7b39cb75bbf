use std::cmp::Reverse;
use std::time::Instant;

use indexmap::IndexMap;

use super::report::Column::{Number, Text};
use super::report::{say, table};
use super::{BenchArgs, bench_input, device, model, trace};
use crate::error::{Error, Result};
use crate::graph::Mode;
use crate::train::program::Task;
use crate::train::recipe::Algorithm;
use crate::train::{Benchmark, BenchmarkSettings, Kernel, Profile, benchmark};

/// Rows of the table of single kernels.
const SHOWN: usize = 20;

/// `wgrad bench`
pub(super) fn run(args: &BenchArgs, started: Instant) -> Result<()> {
    if args.input_pipeline {
        return bench_input::run(args);
    }
    let model = model::load(&args.model, args.input, args.classes)?;
    let device = device::open(&args.device, device::cooperative(args.cooperative, args.precision))?;
    let (graph, output) = model.graph(Mode::Train, 2)?;
    let classes = graph.shape(output).last().copied().unwrap_or(1);
    let batch_size = args.batch_size as usize;
    let task =
        Task { image: model.input(), classes, batch_size, label_smoothing: 0.0, precision: args.precision };
    let steps = args.steps as usize;
    let settings = BenchmarkSettings {
        warmup: args.warmup.map_or(steps.div_ceil(10).max(3), |warmup| warmup as usize),
        steps,
        algorithm: match args.inference {
            true => None,
            false => Some(Algorithm::named(args.optimizer, args.momentum)?),
        },
        unfused: args.unfused,
        recompute: args.recompute,
        profile: args.profile || args.trace.is_some(),
        started,
    };
    let measured = pollster::block_on(benchmark(&model, &task, &device, &settings))?;
    if let (Some(path), Some(profile)) = (&args.trace, &measured.profile) {
        trace::write(path, &measured.device, profile)?;
    }
    if args.json {
        say(serde_json::to_string_pretty(&measured).map_err(|error| Error::Model(error.to_string()))?);
        return Ok(());
    }
    print(&measured);
    if let Some(path) = &args.trace {
        say(format!("trace: {} (for https://ui.perfetto.dev or chrome://tracing)", path.display()));
    }
    Ok(())
}

fn print(measured: &Benchmark) {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1048576.0);
    say(format!(
        "{} on {}, batches of {}, {}, {}, {} steps",
        measured.model,
        measured.device,
        measured.batch_size,
        measured.optimizer.map_or(measured.mode, |optimizer| optimizer.name()),
        measured.precision,
        measured.steps
    ));
    say(format!(
        "{:.3} ms/step (median; {:.3} to {:.3} for 8 in 10 steps, 99 in 100 under {:.3}), {:.0} img/s",
        measured.ms_per_step,
        measured.ms_per_step_p10,
        measured.ms_per_step_p90,
        measured.ms_per_step_p99,
        measured.img_per_s
    ));
    say(format!(
        "{:.2} GFLOP/s, {} of the {:.0} GFLOP/s of a large matrix product",
        measured.gflop_per_s,
        percent(measured.share_of_peak_gflop),
        measured.peak_gflop_per_s
    ));
    if let (Some(rate), Some(share)) = (measured.gb_per_s, measured.share_of_peak_gb) {
        let peak = measured.peak_gb_per_s;
        say(format!("{rate:.2} GB/s, {} of the {peak:.1} GB/s of a copy", percent(share)));
    }
    if let Some(host) = measured.host_ms_per_step {
        let device = measured.device_ms_per_step.map(|ms| format!(", the device {ms:.3} ms"));
        say(format!("per step the host is busy for {host:.3} ms{}", device.unwrap_or_default()));
    }
    if let Some(bytes) = measured.device_bytes {
        say(format!("{} on the device", mib(bytes)));
    }
    if let Some(bytes) = measured.peak_resident_bytes {
        say(format!("{} of memory resident at most", mib(bytes)));
    }
    say(format!(
        "{:.0} ms from the start of the process to the end of the first step",
        measured.ms_to_first_step
    ));
    if let Some(profile) = &measured.profile {
        print_profile(profile);
    }
}

fn print_profile(profile: &Profile) {
    let mut by_kernel: IndexMap<&str, Vec<&Kernel>> = IndexMap::new();
    for kernel in &profile.kernels {
        by_kernel.entry(&kernel.kernel).or_default().push(kernel);
    }
    let groups = by_kernel.into_iter().map(|(name, kernels)| {
        let name = if kernels.len() > 1 { format!("{name} x{}", kernels.len()) } else { name.to_string() };
        (name, kernels)
    });
    say(profile_table(&format!("kernel ({})", profile.clock), groups.collect()));
    let single = profile.kernels.iter().map(|kernel| (kernel.label.clone(), vec![kernel]));
    say(profile_table("slowest single kernels", single.collect()));
}

/// A table of the groups of kernels that take longest.
fn profile_table(header: &str, mut groups: Vec<(String, Vec<&Kernel>)>) -> comfy_table::Table {
    let sum =
        |kernels: &[&Kernel], of: fn(&Kernel) -> f64| kernels.iter().map(|kernel| of(kernel)).sum::<f64>();
    groups.sort_by_key(|(_, kernels)| Reverse((sum(kernels, |kernel| kernel.ms) * 1e6) as u64));
    let numbers = ["ms", "share %", "GFLOP/s", "GB/s", "% of roofline"].map(Number);
    let mut rows = table(&[&[Text(header)][..], &numbers].concat());
    for (name, kernels) in groups.iter().take(SHOWN) {
        let ms = sum(kernels, |kernel| kernel.ms);
        let roofline = sum(kernels, |kernel| kernel.share_of_roofline * kernel.ms) / ms;
        rows.add_row([
            name.clone(),
            format!("{ms:.3}"),
            format!("{:.1}", sum(kernels, |kernel| kernel.share) * 100.0),
            format!("{:.2}", sum(kernels, |kernel| kernel.flops as f64) / ms / 1e6),
            format!("{:.2}", sum(kernels, |kernel| kernel.bytes as f64) / ms / 1e6),
            format!("{:.1}", roofline * 100.0),
        ]);
    }
    rows
}
