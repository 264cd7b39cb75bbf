//! Training through the library: accuracies on digits and MNIST, the same bits from the same seed, resuming, evaluation.

mod augmentation;
mod determinism;
mod digits;
mod evaluation;
mod everything;
mod explain;
mod mnist;
mod parts;
mod placement;
mod recipes;
mod setup;
mod split_weights;
