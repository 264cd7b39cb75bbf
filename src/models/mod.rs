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
//! An entry is a bare name or a table with one key. Besides the operators of [`crate::ops::registry`] there are five
//! containers: `residual = { body = [...], shortcut = [...] }` adds its branches (no shortcut: the identity),
//! `concat = { branches = [[...], [...]] }` puts the branches' channels together, `scale = { by = [...] }` multiplies each
//! channel by what its layers make of the input (squeeze and excitation), and `sequential = { layers = [...] }` groups
//! layers, and `graph = { nodes = [...] }` has layers that read what any of those before them made: a node
//! `{ name = "sum", inputs = ["a", "b"], add = {} }` (`add`, `mul` and `concat` take several inputs, layers one; without
//! `inputs` a node reads the one before it, and `"input"` is what the graph is given).
//!
//! `layer_scale = { init_value = 1e-6 }` multiplies each channel by a trained factor and `channel_bias = {}` adds a trained
//! number to it; `multiply = { factor = 0.1 }` multiplies everything by a fixed number and `offset = { value = 0.1 }` adds one.
//!
//! Parameters are named as PyTorch's `nn.Sequential` names them: every entry counts, `3.body.0.weight`. An entry may have
//! a name of its own instead, `{ name = "conv1", conv2d = { ... } }`; with `name = ""` it adds nothing to the names of
//! what it holds. `names = ["", "downsample"]` does the same for the branches of `residual` and `concat`.
//!
//! Deep networks are made of blocks, lists of layers with arguments, and of entries that repeat:
//!
//! ```toml
//! layers = [
//!   { name = "conv{}", repeat = 3, conv_relu = { channels = 16 } },          # conv1, conv2, conv3
//!   { conv_relu = { channels = 32, stride = 2 } },
//! ]
//!
//! [blocks.conv_relu]
//! arguments = ["channels", "stride"]
//! defaults = { stride = 1 }
//! layers = [
//!   { conv2d = { out_channels = "$channels", kernel_size = 3, stride = "$stride", padding = 1 } }, "relu",
//! ]
//! ```
//!
//! `"$channels"` stands for the argument, which may be anything: a number, the name of a layer, a list of layers. A block
//! is used like a layer; its layers are named by their position in it, below the name or position of the entry.
//! `{ repeat = 3, ... }` stands for three such entries, and `{}` in their name for 1, 2, 3.
//!
//! So that one file serves every data set, `input` may be left out, and `out_features` (or `out_channels`) may be
//! `"classes"`: both then come from the data set. `input = [C, H, W]` and `classes = 10` at the top fix them, and a data
//! set that differs is an error. `example = { input = [1, 28, 28], classes = 10 }` says what to show the model with
//! when there is no data set at all.

mod blocks;
mod containers;
mod entry;
mod factors;
mod model;
mod parse;
mod spec;
mod summary;
mod wired;
mod zoo;

pub use containers::{Concat, Residual, Scale, Sequential};
pub use factors::{ChannelBias, LayerScale, Multiply, Offset};
pub use model::Model;
pub use spec::ModelSpec;
pub use summary::{LayerRow, Summary, summary};
pub use wired::{Join, Wire, Wired, Wiring};
pub use zoo::built_in;

pub(crate) use parse::layer;
