//! Training: what a run is to do.

pub mod recipe;
