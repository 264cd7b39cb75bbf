//! wgrad: convolutional networks trained on any GPU, through hand-written WGSL compute shaders and wgpu.
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
