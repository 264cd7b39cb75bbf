//! Optimizers: elementwise passes over pages of parameters, and graphs between them. The passes around these: gradient norm
//! and halt flag, running statistics, sums over micro-batches. And the learning rates of a run.

mod adagrad;
mod adam;
mod adaptive_clip;
mod ema;
mod lamb;
mod lion;
mod muon;
mod plateau;
mod rmsprop;
mod schedule;
mod sgd;

pub use adagrad::Adagrad;
pub use adam::Adam;
pub use adaptive_clip::AdaptiveClip;
pub use ema::Ema;
pub use lamb::Lamb;
pub use lion::Lion;
pub use muon::{AdjustLr, Muon};
pub use plateau::{Plateau, PlateauState};
pub use rmsprop::RmsProp;
pub use schedule::{Anneal, Curve, RunLength, Schedule, Unit, Warmup};
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
        ("lamb", shader!("lamb", REDUCE, UPDATE, PREPARE)),
        ("muon", shader!("muon", REDUCE, UPDATE, PREPARE)),
        ("grad_norm", shader!("grad_norm", REDUCE)),
        ("accumulate", shader!("accumulate")),
        ("ema", shader!("ema")),
        ("running_statistics", shader!("running_statistics")),
    ]
    .into_iter()
}
