//! What a run looks like afterwards: a page of curves, mistakes and figures; lists and comparisons of runs; tables.

mod chart;
mod compare;
mod network;
mod page;
mod picture;
mod record;
mod table;
pub mod tensorboard;

pub use chart::{Chart, Series, Unit, chart, plot, short};
pub use compare::{Comparison, Difference, Overview, comparison_page, find_runs};
pub use network::drawing;
pub use page::{Findings, page};
pub use picture::Picture;
pub use record::{EvaluationRow, Record, StepRow};
pub use table::write_csv;
