//! Checks of operators on their samples: gradients by central differences, agreement of devices, passing of NaN. The
//! tests and `wgrad selftest` run the same code.

mod case;
mod cooperative;
mod device;
mod gradient;

pub use case::{Case, CaseInput, Outputs, max_abs};
pub use cooperative::{ProductCase, check_product, product_cases, prove_products};
pub use device::{check_on_gpu, run_on_gpu, serially};
pub use gradient::check_gradients;

use crate::graph::NodeKind;
use crate::ops::{Operator, Sample};
use crate::tensor::DType;

/// An operator's samples, each followed by the same in mixed precision if that changes anything for the operator.
pub fn samples(operator: &Operator) -> Vec<Sample> {
    let variants = |sample: Sample| {
        let half = sample.in_half();
        let changes = takes_part_in_half(operator.name, &half);
        [Some(sample), changes.then_some(half)].into_iter().flatten()
    };
    (operator.samples)().into_iter().flat_map(variants).collect()
}

/// Whether a node of the operator reads or makes f16.
fn takes_part_in_half(operator: &str, sample: &Sample) -> bool {
    let Ok(case) = Case::new(sample) else { return true };
    let graph = &case.program.graphs[0];
    graph.nodes().iter().any(|node| {
        let mut descs = node.inputs.iter().map(|value| graph.desc(*value)).chain(&node.outputs);
        let ours = matches!(&node.kind, NodeKind::Op(op) if op.name() == operator);
        ours && operator != "cast" && descs.any(|desc| desc.dtype == DType::F16)
    })
}

/// Checks what needs no GPU: the f64 gradients, and that a NaN in the first input reaches the outputs.
pub fn check_on_host(sample: &Sample) -> Result<(), String> {
    check_gradients(sample)?;
    check_nan_passes(sample)
}

/// How far `got` may be from the f64 reference: 8 times the error of the CPU path's own f32, plus 1e-6 of the
/// largest magnitude.
pub fn tolerance(reference: &[f64], cpu_f32: &[f64]) -> f64 {
    let pairs = reference.iter().zip(cpu_f32);
    8.0 * max_abs(pairs.map(|(a, b)| a - b)) + 1e-6 * max_abs(reference.iter().copied())
}

/// Compares a device's f32 outputs with the CPU's.
pub fn compare(sample: &Sample, reference: &Outputs, cpu_f32: &Outputs, got: &Outputs) -> Result<(), String> {
    for (name, wanted) in reference {
        let (ours, theirs) = (&cpu_f32[name], &got[name]);
        if let Some(at) = (0..wanted.len()).find(|&i| theirs[i].is_nan() != wanted[i].is_nan()) {
            let (theirs, wanted) = (theirs[at], wanted[at]);
            return Err(format!("{sample:?}: {name}[{at}] is {theirs}, the reference is {wanted}"));
        }
        let finite = |values: &[f64]| -> Vec<f64> {
            values
                .iter()
                .zip(wanted)
                .filter(|(_, wanted)| wanted.is_finite())
                .map(|(value, _)| *value)
                .collect()
        };
        let allowed = tolerance(&finite(wanted), &finite(ours));
        let differences = wanted.iter().zip(theirs).map(|(a, b)| (a - b).abs());
        let worst = differences.enumerate().filter(|(_, d)| d.is_finite()).max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((at, difference)) = worst.filter(|(_, difference)| *difference > allowed) {
            return Err(format!(
                "{sample:?}: {name}[{at}] is {}, the reference is {}; they differ by {difference:.3e}, allowed is {allowed:.3e}",
                theirs[at], wanted[at]
            ));
        }
    }
    Ok(())
}

fn check_nan_passes(sample: &Sample) -> Result<(), String> {
    let case = Case::new(sample)?.with_nan();
    let outputs = case.run_cpu::<f32>();
    if sample.passes_nan && !outputs["output.0"].iter().any(|value| value.is_nan()) {
        return Err(format!("{sample:?}: a NaN in the first input does not reach the output"));
    }
    Ok(())
}
