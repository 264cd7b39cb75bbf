//! The figures of a benchmark. Fields of these structs are the fields of `wgrad bench --json`: once published, names and
//! units stay. docs/measurements/README.md has the list.

use serde::Serialize;

use super::{BenchmarkSettings, Peak, Times};
use crate::plan::KernelTime;
use crate::train::recipe::{OptimizerName, Precision};

/// How fast a model trains on random images, or predicts what is in them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Benchmark {
    /// The model's name.
    pub model: String,
    /// The device's name.
    pub device: String,
    /// Element type of activations: `f32`.
    pub precision: String,
    /// `training`, or `inference`: the forward pass of evaluations, to the logits on the host, one batch after the other.
    pub mode: &'static str,
    /// `sgd`, `adam` or `adamw`; none of inference.
    pub optimizer: Option<OptimizerName>,
    /// Images per step.
    pub batch_size: usize,
    /// Steps that were timed, after the warm-up.
    pub steps: usize,
    /// Median time of a step: forward, loss, backward, optimizer; of inference the forward pass.
    pub ms_per_step: f64,
    /// Time that one in ten steps stays under.
    pub ms_per_step_p10: f64,
    /// Time that nine in ten steps stay under.
    pub ms_per_step_p90: f64,
    /// Time that 99 in 100 steps stay under.
    pub ms_per_step_p99: f64,
    /// Images per second at the median.
    pub img_per_s: f64,
    /// Floating-point operations of a step, in 10^9; a multiply-add counts two.
    pub gflop_per_step: f64,
    /// These over the median time.
    pub gflop_per_s: f64,
    /// What the device reached in a large matrix product of its own.
    pub peak_gflop_per_s: f64,
    /// `gflop_per_s / peak_gflop_per_s`
    pub share_of_peak_gflop: f64,
    /// Bytes that the kernels of a step move at least, in 10^9, each buffer counted once per kernel; only with a profile.
    pub gb_per_step: Option<f64>,
    /// These over the median time.
    pub gb_per_s: Option<f64>,
    /// What the device reached in copying 64 MiB, read and written bytes together.
    pub peak_gb_per_s: f64,
    /// `gb_per_s / peak_gb_per_s`
    pub share_of_peak_gb: Option<f64>,
    /// Median time per step in which the host recorded and submitted work; none on the CPU, which is all host.
    pub host_ms_per_step: Option<f64>,
    /// Time of a step on the device, from the first kernel to the end of the last; only with a profile.
    pub device_ms_per_step: Option<f64>,
    /// Bytes of all buffers on the GPU; none on the CPU.
    pub device_bytes: Option<u64>,
    /// What the plans said about these before anything was allocated.
    pub predicted_bytes: Option<u64>,
    /// The most memory that the process had resident, before the device's peak was measured; Linux only.
    pub peak_resident_bytes: Option<u64>,
    /// From the start of the process to the end of the first step.
    pub ms_to_first_step: f64,
    /// When the first step was done, in milliseconds since 1970: whoever started the process can subtract.
    pub first_step_unix_ms: f64,
    /// Where a step spends its time, if asked for.
    pub profile: Option<Profile>,
}

/// Where a step spends its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// `timestamps` of the device, `submit and wait` where it has none, or `host`.
    pub clock: &'static str,
    /// Each kernel of a step, in order.
    pub kernels: Vec<Kernel>,
}

/// One kernel of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kernel {
    /// The node and its operator, such as `3.body.0 conv2d.forward`.
    pub label: String,
    /// Shader and entry point; on the CPU operator and pass.
    pub kernel: String,
    /// From the beginning of the step to that of the kernel.
    pub began_ms: f64,
    /// Median time.
    pub ms: f64,
    /// Share of the time of all kernels.
    pub share: f64,
    /// Floating-point operations; a multiply-add counts two.
    pub flops: u64,
    /// Bytes moved at least: every buffer once, and twice if it is changed in place.
    pub bytes: u64,
    /// `flops` over the time.
    pub gflop_per_s: f64,
    /// `bytes` over the time.
    pub gb_per_s: f64,
    /// Time that it would take at the device's peaks, over the time that it took: 1 is at the roofline. What stays in
    /// caches can be above.
    pub share_of_roofline: f64,
}

/// What a benchmark has measured, before it is put into figures.
pub(super) struct Measured {
    pub(super) device: String,
    pub(super) precision: Precision,
    pub(super) flops: u64,
    pub(super) times: Times,
    pub(super) kernels: Vec<KernelTime>,
    pub(super) has_timestamps: bool,
    pub(super) device_bytes: Option<u64>,
    pub(super) predicted_bytes: Option<u64>,
    pub(super) peak_resident_bytes: Option<u64>,
    pub(super) peak: Peak,
}

impl Measured {
    pub(super) fn summarize(
        mut self,
        model: &str,
        batch_size: usize,
        settings: &BenchmarkSettings,
    ) -> Benchmark {
        let (steps, peak) = (&mut self.times.steps, self.peak);
        steps.sort_by(f64::total_cmp);
        self.times.host.sort_by(f64::total_cmp);
        let median = quantile(steps, 0.5);
        let per_second = |count: f64| count / median * 1e3;
        let gflop = self.flops as f64 / 1e9;
        let bytes = self.kernels.iter().map(|kernel| kernel.bytes).sum::<u64>();
        let gb = settings.profile.then_some(bytes as f64 / 1e9);
        let end = self.kernels.iter().map(|kernel| kernel.began + kernel.seconds).max_by(f64::total_cmp);
        Benchmark {
            model: model.to_string(),
            device: self.device.clone(),
            precision: self.precision.name().to_string(),
            mode: if settings.algorithm.is_some() { "training" } else { "inference" },
            optimizer: settings.algorithm.map(|algorithm| algorithm.name()),
            batch_size,
            steps: steps.len(),
            ms_per_step: median,
            ms_per_step_p10: quantile(steps, 0.1),
            ms_per_step_p90: quantile(steps, 0.9),
            ms_per_step_p99: quantile(steps, 0.99),
            img_per_s: per_second(batch_size as f64),
            gflop_per_step: gflop,
            gflop_per_s: per_second(gflop),
            peak_gflop_per_s: peak.gflop_per_s,
            share_of_peak_gflop: per_second(gflop) / peak.gflop_per_s,
            gb_per_step: gb,
            gb_per_s: gb.map(per_second),
            peak_gb_per_s: peak.gb_per_s,
            share_of_peak_gb: gb.map(|gb| per_second(gb) / peak.gb_per_s),
            host_ms_per_step: (!self.times.host.is_empty()).then(|| quantile(&self.times.host, 0.5)),
            device_ms_per_step: end.filter(|_| self.has_timestamps).map(|seconds| seconds * 1e3),
            device_bytes: self.device_bytes,
            predicted_bytes: self.predicted_bytes,
            peak_resident_bytes: self.peak_resident_bytes,
            ms_to_first_step: self.times.first.as_secs_f64() * 1e3,
            first_step_unix_ms: self.times.first_at.as_secs_f64() * 1e3,
            profile: settings.profile.then(|| self.profile()),
        }
    }

    fn profile(&self) -> Profile {
        let total: f64 = self.kernels.iter().map(|kernel| kernel.seconds).sum();
        let clock = match (self.device_bytes, self.has_timestamps) {
            (None, _) => "host",
            (_, true) => "timestamps",
            (_, false) => "submit and wait",
        };
        let kernels = self.kernels.iter().map(|kernel| {
            let (gflop, gb) = (kernel.flops as f64 / 1e9, kernel.bytes as f64 / 1e9);
            let (compute, memory) = (gflop / self.peak.gflop_per_s, gb / self.peak.gb_per_s);
            let bound = if compute > memory { compute } else { memory };
            Kernel {
                label: kernel.label.clone(),
                kernel: kernel.kernel.clone(),
                began_ms: kernel.began * 1e3,
                ms: kernel.seconds * 1e3,
                share: kernel.seconds / total,
                flops: kernel.flops,
                bytes: kernel.bytes,
                gflop_per_s: gflop / kernel.seconds,
                gb_per_s: gb / kernel.seconds,
                share_of_roofline: bound / kernel.seconds,
            }
        });
        Profile { clock, kernels: kernels.collect() }
    }
}

/// The value that a share `q` of sorted values stays under; NaN if there are none.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted.get(((sorted.len() as f64 - 1.0) * q).round() as usize).copied().unwrap_or(f64::NAN)
}
