//! Optimizers: one elementwise pass over pages of parameters. And the passes around it: gradient norm and halt flag,
//! running statistics, sums over micro-batches. And the learning rates of a run.

mod adagrad;
mod adam;
mod lion;
mod plateau;
mod rmsprop;
mod schedule;
mod sgd;

pub use adagrad::Adagrad;
pub use adam::Adam;
pub use lion::Lion;
pub use plateau::{Plateau, PlateauState};
pub use rmsprop::RmsProp;
pub use schedule::{Curve, RunLength, Schedule, Unit};
pub use sgd::Sgd;

use crate::ops::Shader;
use crate::shader;

/// The shaders of the end of a training step, by stem.
pub fn shaders() -> impl Iterator<Item = (&'static str, Shader)> {
    [
        ("sgd", shader!("sgd", REDUCE, UPDATE)),
        ("adam", shader!("adam", REDUCE, UPDATE)),
        ("rmsprop", shader!("rmsprop", REDUCE, UPDATE)),
        ("adagrad", shader!("adagrad", REDUCE, UPDATE)),
        ("lion", shader!("lion", REDUCE, UPDATE)),
        ("grad_norm", shader!("grad_norm", REDUCE)),
        ("accumulate", shader!("accumulate")),
        ("running_statistics", shader!("running_statistics")),
    ]
    .into_iter()
}
