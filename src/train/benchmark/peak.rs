//! What a device does at best, measured by kernels of this crate: a large matrix product, and a copy.

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;

use super::super::device::Device;
use super::super::session::Session;
use crate::error::Result;
use crate::graph::{Graph, Mode, Step, TensorDesc};
use crate::ops::{Layer, matmul::Matmul, relu::Relu};
use crate::plan::{Data, Program};

/// A device's measured peaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// 10^9 floating-point operations per second, in a product of square matrices.
    pub gflop_per_s: f64,
    /// 10^9 bytes per second, read and written, in an elementwise pass over `COPIED` elements.
    pub gb_per_s: f64,
}

/// Runs of each probe; the fastest counts.
const RUNS: usize = 5;

/// Elements of the copy: 64 MiB, more than caches hold.
const COPIED: usize = 1 << 24;

/// Matrices of these sizes are multiplied until a product takes [`LONG`] seconds: fast devices need large ones.
const SIZES: [usize; 4] = [512, 1024, 2048, 4096];

/// See [`SIZES`].
const LONG: f64 = 2e-3;

/// Measures a device.
pub async fn peak(device: &Device) -> Result<Peak> {
    match device {
        Device::Cpu => Ok(Peak { gflop_per_s: gemm(device).await?, gb_per_s: cpu_copy() }),
        Device::Gpu(_) => Ok(Peak { gflop_per_s: gemm(device).await?, gb_per_s: gpu_copy(device).await? }),
    }
}

/// The fastest of several runs, in seconds.
fn fastest(mut run: impl FnMut()) -> f64 {
    let times = (0..RUNS).map(|_| {
        let began = Instant::now();
        run();
        began.elapsed().as_secs_f64()
    });
    times.min_by(f64::total_cmp).unwrap_or(f64::NAN)
}

/// A copy of memory by all threads.
fn cpu_copy() -> f64 {
    let (from, mut to) = (vec![1.0_f32; COPIED], vec![0.0_f32; COPIED]);
    let share = COPIED.div_ceil(rayon::current_num_threads());
    let seconds = fastest(|| {
        let pairs = to.par_chunks_mut(share).zip(from.par_chunks(share));
        pairs.for_each(|(to, from)| to.copy_from_slice(from));
    });
    2.0 * (COPIED * 4) as f64 / seconds / 1e9
}

async fn gemm(device: &Device) -> Result<f64> {
    let mut best = 0.0;
    for n in SIZES {
        let mut graph = Graph::new(Mode::Eval);
        let [a, b] = ["a", "b"].map(|name| graph.input(name, TensorDesc::f32([n, n])));
        let product = graph.apply1(Matmul { a_transposed: false, b_transposed: false }, &[a, b])?;
        graph.output("product", product);
        let matrix = vec![1.0; n * n];
        let inputs = [("a", Data::Real(&matrix[..])), ("b", Data::Real(&matrix[..]))];
        let seconds = fastest_run(device, graph, &inputs).await?;
        let rate = 2.0 * (n * n * n) as f64 / seconds / 1e9;
        best = if rate > best { rate } else { best };
        if seconds > LONG {
            break;
        }
    }
    Ok(best)
}

/// An activation, which reads and writes each element once.
async fn gpu_copy(device: &Device) -> Result<f64> {
    let count = COPIED.min((device.max_page_bytes() / 4) as usize);
    let mut graph = Graph::new(Mode::Eval);
    let input = graph.input("input", TensorDesc::f32([count]));
    let output = Relu {}.build(&mut graph, input)?;
    graph.output("output", output);
    let seconds = fastest_run(device, graph, &[("input", Data::Real(&vec![1.0; count]))]).await?;
    Ok(2.0 * (count * 4) as f64 / seconds / 1e9)
}

/// Seconds that the device needs for the graph's only operator.
async fn fastest_run(device: &Device, graph: Graph, inputs: &[(&str, Data<'_, f32>)]) -> Result<f64> {
    let program = Arc::new(Program::new(vec![graph], None, device.max_page_bytes())?);
    let mut session = Session::new(device, program).await?;
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let kernels = session.profile(0, inputs, &Step::default()).await?;
        let seconds: f64 = kernels.iter().map(|kernel| kernel.seconds).sum();
        best = if seconds < best { seconds } else { best };
    }
    Ok(best)
}
