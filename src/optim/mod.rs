//! Optimizers: one elementwise pass over pages of parameters. And the passes around it: gradient norm and halt flag,
//! running statistics, sums over micro-batches. And the learning rates of a run.

mod adam;
mod schedule;
mod sgd;

pub use adam::Adam;
pub use schedule::{Curve, Schedule};
pub use sgd::Sgd;

use crate::ops::Shader;
use crate::shader;

/// The shaders of the end of a training step, by stem.
pub fn shaders() -> impl Iterator<Item = (&'static str, Shader)> {
    [
        ("sgd", shader!("sgd", REDUCE, UPDATE)),
        ("adam", shader!("adam", REDUCE, UPDATE)),
        ("grad_norm", shader!("grad_norm", REDUCE)),
        ("accumulate", shader!("accumulate")),
        ("running_statistics", shader!("running_statistics")),
    ]
    .into_iter()
}
