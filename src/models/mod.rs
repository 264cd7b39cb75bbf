//! Networks: containers of layers, the TOML format that describes them, the built-in ones, and a summary of what they
//! are made of.
//!
//! A model file is a list of layers:
//!
//! ```toml
//! input = [1, 28, 28]                                        # C, H, W
//! layers = [
//!   { conv2d = { out_channels = 8, kernel_size = 3 } },      # PyTorch's argument names and defaults
//!   "relu",
//!   { max_pool2d = { kernel_size = 2 } },
//!   { residual = { body = ["batch_norm", "relu"], shortcut = [] } },
//!   "flatten",
//!   { linear = { out_features = 10 } },
//! ]
//! ```
//!
//! An entry is a bare name or a table with one key. Besides the operators of [`crate::ops::registry`] there are three
//! containers: `residual = { body = [...], shortcut = [...] }` adds its branches (no shortcut: the identity),
//! `concat = { branches = [[...], [...]] }` puts the branches' channels together, and `sequential = { layers = [...] }`
//! groups layers. Parameters are named as PyTorch's `nn.Sequential` names them: every entry counts, `3.body.0.weight`.
//!
//! So that one file serves every data set, `input` may be left out, and `out_features` (or `out_channels`) may be
//! `"classes"`: both then come from the data set. `input = [C, H, W]` and `classes = 10` at the top fix them, and a data
//! set that differs is an error. `example = { input = [1, 28, 28], classes = 10 }` says what to show the model with
//! when there is no data set at all.

mod containers;
mod model;
mod parse;
mod spec;
mod summary;
mod zoo;

pub use containers::{Concat, Residual, Sequential};
pub use model::Model;
pub use spec::ModelSpec;
pub use summary::{LayerRow, Summary, summary};
pub use zoo::built_in;
