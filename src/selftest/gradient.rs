use super::case::{Case, STEP, max_abs};
use crate::cpu::Session;
use crate::ops::Sample;

/// Half the distance of a central difference.
const H: f64 = 1e-5;

/// Compares the gradients that the rules give with central differences, both in f64 on the CPU.
pub fn check_gradients(sample: &Sample) -> Result<(), String> {
    if !sample.differentiable {
        return Case::new(sample).map(|case| drop(case.run_cpu::<f64>()));
    }
    let analytic = Case::new(sample)?.run_cpu::<f64>();
    let upstream = upstream(sample)?;
    let case = Case::forward(sample)?;
    let mut session = Session::<f64>::new(case.program.clone()).poisoned();
    let mut floats = case.floats::<f64>();
    for (number, _) in sample.inputs.iter().enumerate().filter(|(_, input)| input.differentiable()) {
        let name = format!("grad.{number}");
        let gradient =
            analytic.get(&name).ok_or(format!("{sample:?}: has no gradient for input {number}"))?;
        let scale = max_abs(gradient.iter().copied()).max(1e-2);
        for at in 0..floats[number].len() {
            let middle = floats[number][at];
            let mut loss_at = |x: f64| {
                floats[number][at] = x;
                session.run(0, &case.data(&floats), &STEP);
                dot(session.output("output.0").unwrap_or(&[]), &upstream)
            };
            let numeric = (loss_at(middle + H) - loss_at(middle - H)) / (2.0 * H);
            floats[number][at] = middle;
            let difference = (numeric - gradient[at]).abs();
            if difference.is_nan() || difference > 1e-6 * scale {
                let given = gradient[at];
                return Err(format!("{sample:?}: {name}[{at}] is {given}, by central differences {numeric}"));
            }
        }
    }
    Ok(())
}

fn upstream(sample: &Sample) -> Result<Vec<f64>, String> {
    let case = Case::new(sample)?;
    let floats = case.floats::<f64>();
    Ok(floats.last().cloned().unwrap_or_default())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
