use std::sync::Arc;

use serde::Serialize;

use super::SelftestArgs;
use super::report::Column::{Number, Text};
use super::report::{bar, say, table};
use crate::error::{Error, Result};
use crate::gpu::{Checks, Gpu, Opening};
use crate::ops;
use crate::selftest::{self, check_on_gpu};
use crate::train::{Device, DeviceChoice};

#[derive(Serialize)]
struct Row {
    operator: &'static str,
    samples: usize,
    failures: Vec<String>,
}

/// `wgrad selftest`
pub(super) fn run(args: &SelftestArgs) -> Result<()> {
    let choice = match &args.device {
        DeviceChoice::Auto => DeviceChoice::Gpu,
        DeviceChoice::Cpu => {
            let message =
                "--device cpu is the path that selftest compares GPUs with; give gpu, an index or a name";
            return Err(Error::Recipe(message.to_string()));
        }
        choice => choice.clone(),
    };
    let gpu = open(&choice, Checks::On)?;
    let unchecked = open(&choice, Checks::Off)?;
    let bar = bar(ops::registry().len() as u64, "testing {msg} {wide_bar} {pos}/{len}", args.json);
    let mut rows = vec![];
    for operator in ops::registry() {
        bar.set_message(operator.name);
        let samples = selftest::samples(operator);
        let check = |sample| pollster::block_on(check_on_gpu(&gpu, sample)).err();
        let check_unchecked = |sample| pollster::block_on(check_on_gpu(&unchecked, sample)).err();
        let mut failures: Vec<String> = samples.iter().filter_map(check).collect();
        failures.extend(samples.first().and_then(check_unchecked).map(|error| format!("unchecked: {error}")));
        rows.push(Row { operator: operator.name, samples: samples.len(), failures });
        bar.inc(1);
    }
    bar.finish_and_clear();
    let failed: usize = rows.iter().map(|row| row.failures.len()).sum();
    if args.json {
        say(serde_json::to_string_pretty(&rows).map_err(|error| Error::NoDevice(error.to_string()))?);
    } else {
        print(&rows, &gpu.name);
    }
    if failed > 0 {
        let names: Vec<&str> =
            rows.iter().filter(|row| !row.failures.is_empty()).map(|row| row.operator).collect();
        let message =
            format!("{failed} samples disagree with the CPU path, of {}; use --device cpu", names.join(", "));
        return Err(Error::Device { device: gpu.name.clone(), message });
    }
    Ok(())
}

/// Kernels are tested with run-time checks, and one sample of each operator also without, as other commands run them.
fn open(choice: &DeviceChoice, checks: Checks) -> Result<Arc<Gpu>> {
    match pollster::block_on(Device::open_with(choice, Opening { checks, ..Opening::default() }))? {
        Device::Gpu(gpu) => Ok(gpu),
        Device::Cpu => Err(Error::NoDevice("no GPU adapter was found to test".to_string())),
    }
}

fn print(rows: &[Row], device: &str) {
    let mut shown = table(&[Text("operator"), Number("samples"), Text("result")]);
    for row in rows {
        let result = if row.failures.is_empty() { "ok".to_string() } else { row.failures.join("\n") };
        shown.add_row([row.operator.to_string(), row.samples.to_string(), result]);
    }
    say(shown);
    let samples: usize = rows.iter().map(|row| row.samples).sum();
    say(format!("{device}: {samples} samples of {} operators compared with the CPU path", rows.len()));
}
