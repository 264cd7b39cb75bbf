//! The CPU executor: the same graphs on the host, in f32 for use and f64 for reference, on all cores.

mod accumulate;
mod gemm;
mod host;
mod places;
mod profile;
mod session;
mod update;

pub use gemm::{Kernels, Multiply};
pub use host::Threads;
pub use session::{Element, Session};
