//! Training: programs of a training run, the loop, metrics, checkpoints, evaluation.

mod augmented;
mod benchmark;
mod cache;
mod checkpoint;
pub mod control;
mod device;
mod evaluation;
mod feed;
pub mod files;
mod input_benchmark;
pub mod metrics;
mod micro_batches;
pub mod program;
pub mod recipe;
mod run;
mod session;
mod settings;
mod trainer;
pub mod tune;
pub mod weights;

pub use augmented::{Drawn, Fed, TrainFeed};
pub use benchmark::{Benchmark, BenchmarkSettings, Kernel, Peak, Profile, benchmark, peak};
pub use cache::CacheFolder;
pub use checkpoint::{Checkpoint, Progress, Totals};
pub use device::{Device, Environment, in_parallel};
pub use evaluation::{ClassRow, Evaluation, Evaluator};
pub use feed::{Feed, Placement};
pub use input_benchmark::{InputBenchmark, InputBenchmarkSettings, InputRates, input_benchmark};
pub use micro_batches::{Fit, Fitted, predicted};
pub use recipe::{DeviceChoice, Length};
pub use run::{Run, RunModel};
pub use session::Session;
pub use settings::Settings;
pub use trainer::{Ending, Observer, StepEvent, Trained, Trainer};
