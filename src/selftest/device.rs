use std::collections::HashMap;
use std::sync::Arc;

use super::case::{Case, Outputs, STEP};
use super::compare;
use crate::error::Result;
use crate::gpu::{Gpu, Session};
use crate::ops::Sample;

/// Runs a piece of work for each index, one after another.
pub fn serially(count: usize, work: &(dyn Fn(usize) + Sync)) {
    (0..count).for_each(work);
}

/// Compares a GPU's kernels with the CPU path on one sample: forward, gradients, and where NaN appears when the first
/// input has one. Temporary memory is poisoned with NaN.
pub async fn check_on_gpu(gpu: &Arc<Gpu>, sample: &Sample) -> Result<(), String> {
    let fail = |error| format!("{sample:?}: {error}");
    for poke in [false, true] {
        let case = Case::new(sample)?;
        let case = if poke { case.with_nan() } else { case };
        let got = run_on_gpu(gpu, &case).await.map_err(fail)?;
        compare(sample, &case.run_cpu::<f64>(), &case.run_cpu::<f32>(), &got)
            .map_err(|error| if poke { format!("{error} (with a NaN in the first input)") } else { error })?;
    }
    Ok(())
}

/// Runs a case on a GPU, in memory poisoned with NaN.
pub async fn run_on_gpu(gpu: &Arc<Gpu>, case: &Case) -> Result<Outputs> {
    let mut session = Session::new(gpu.clone(), case.program.clone(), &serially).await?.poisoned();
    session.submit(0, &case.data(&case.floats::<f32>()), &STEP)?;
    let finished = session.collect(0).await?;
    let outputs: HashMap<String, Vec<f32>> = finished.map(|finished| finished.outputs).unwrap_or_default();
    Ok(outputs
        .into_iter()
        .map(|(name, values)| (name, values.into_iter().map(f64::from).collect()))
        .collect())
}
