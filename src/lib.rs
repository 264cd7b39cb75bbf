//! Convolutional networks trained on any GPU, through hand-written WGSL compute shaders and wgpu, or on the CPU.
//!
//! The command `wgrad` is made of this library; what it does can be done from Rust. Here a network is trained on the
//! built-in digits, and then asked about one of them:
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//!
//! use pollster::block_on;
//! use wgrad::data::{DataSource, Dataset, Normalization};
//! use wgrad::models::ModelSpec;
//! use wgrad::train::{Device, Length, Observer, Settings, Trainer};
//!
//! struct Silent;
//! impl Observer for Silent {}
//!
//! let data = Dataset::load(&DataSource::Digits, 0, &|_, _| {})?;
//! let model = ModelSpec::load("digits-cnn")?.bind(data.image, data.classes.len())?;
//! let normalization = Normalization::of(&data.train)?;
//! let settings = Settings { length: Length::Epochs(1), ..Settings::default() };
//! let mut trainer = block_on(Trainer::new(&model, &data, normalization, settings, &Device::Cpu))?;
//! let trained = block_on(trainer.train(&mut Silent, &AtomicBool::new(false)))?;
//! println!("accuracy {:.3}", trained.evaluation.accuracy);
//!
//! let mut predictor = block_on(trainer.predictor(1))?;
//! let about = predictor.about().clone();
//! let pixels = data.test.pixels(&[0], about.normalization.as_ref())?;
//! let logits = block_on(predictor.logits(&pixels))?;
//! assert_eq!(logits.len(), 10);
//! println!("{} by {:?}", about.classes[data.test.labels()[0] as usize], about.top(&logits, 3));
//! # Ok::<(), wgrad::Error>(())
//! ```
//!
//! What waits for a device is `async`, for browsers and servers; `pollster::block_on` or any other executor runs it.
//! What can fail gives an [`Error`], whose message says what to do.
//!
//! # Where to find what
//!
//! | to | begin with | example |
//! |---|---|---|
//! | train on data of your own | [`data::Split::new`], [`data::Dataset`], [`train::Trainer`], [`train::Settings`] | `examples/own_data.rs` |
//! | describe a network | [`models`] (TOML files, the built-in ones), [`models::Sequential`] (Rust) | `examples/own_data.rs` |
//! | classify inside an application, buffers reused | [`train::Predictor`] of a [`train::Run`], or [`train::Trainer::predictor`] | `examples/classify.rs` |
//! | minimise a loss of your own, measure by another metric | [`train::program::Loss`], [`train::Evaluation::logits`] | `examples/custom_loss.rs` |
//! | add an operator with its own WGSL | [`ops::Operator`], [`ops::register`], [`graph::Op`], [`selftest`] | `examples/custom_operator/` |
//! | take the gradient of any expression | [`graph::Graph`], [`ops::gradients`], [`plan::Program`], [`train::Session`] | `examples/gradient.rs` |
//! | watch, pause or stop a run | [`train::Observer`] | `examples/own_data.rs` |
//! | take models elsewhere, or bring them in | [`exchange`]: ONNX, PyTorch, safetensors | `examples/exchange.rs` |
//! | write pages and TensorBoard's events | [`report`] | |
//!
//! # Features
//!
//! All are on by default; `default-features = false` leaves them out: `serve` (`wgrad serve`, and the module `serve`),
//! `tui` (the live dashboard of `wgrad train --ui tui`) and `download` (`wgrad download`, `hf:` names).
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod augment;
pub mod cli;
pub mod cpu;
pub mod data;
pub mod error;
pub mod exchange;
pub mod fetch;
mod fields;
pub mod files;
pub mod fusion;
pub mod gpu;
pub mod graph;
pub mod models;
pub mod ops;
pub mod optim;
pub mod plan;
pub mod report;
pub mod selftest;
#[cfg(feature = "serve")]
pub mod serve;
pub mod tensor;
pub mod train;

pub use error::{Error, Result};
