//! What happens around the steps of a run: which checkpoints are kept, and when training ends early.

mod history;
mod kept;
mod monitor;
mod tta;

pub use history::{History, Rule, Score};
pub use kept::{Choice, forget, keep};
pub use monitor::Monitor;
pub use tta::Tta;
