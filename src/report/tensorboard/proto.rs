//! The messages of TensorBoard's event files, as far as they are written: field numbers from `event.proto`,
//! `summary.proto`, `tensor.proto` (tensorboard/compat/proto) and the hparams plugin's `plugin_data.proto` and
//! `api.proto`.

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};

/// A record of an event file.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Steps done.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// What happened.
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// What an event says.
#[derive(Clone, PartialEq, Oneof)]
pub enum What {
    /// The first record of a file: `brain.Event:2`.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Values.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// A session began: what is of this step or later and was written before is void.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// The begin of a session.
#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    /// Which kind of message this is.
    #[prost(enumeration = "SessionStatus", tag = "1")]
    pub status: i32,
}

/// Kinds of [`SessionLog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum SessionStatus {
    /// None.
    Unspecified = 0,
    /// The session begins.
    Start = 1,
}

/// Values of one step.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// A value under its name.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Its name; what comes before a `/` groups it.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// Whose it is, for plugins.
    #[prost(message, optional, tag = "9")]
    pub metadata: Option<SummaryMetadata>,
    /// The value.
    #[prost(oneof = "Kind", tags = "2, 4, 5, 8")]
    pub value: Option<Kind>,
}

/// Kinds of values.
#[derive(Clone, PartialEq, Oneof)]
pub enum Kind {
    /// A number.
    #[prost(float, tag = "2")]
    SimpleValue(f32),
    /// A picture.
    #[prost(message, tag = "4")]
    Image(Image),
    /// A distribution.
    #[prost(message, tag = "5")]
    Histo(Histogram),
    /// A tensor; plugins that only have metadata write an empty one.
    #[prost(message, tag = "8")]
    Tensor(Tensor),
}

/// A picture.
#[derive(Clone, PartialEq, Message)]
pub struct Image {
    /// Pixels.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// Pixels.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// 1 for grey, 3 for RGB.
    #[prost(int32, tag = "3")]
    pub colorspace: i32,
    /// A PNG file.
    #[prost(bytes = "vec", tag = "4")]
    pub encoded: Vec<u8>,
}

/// A distribution: how many values are at most each limit and above the one before.
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    /// The lowest value.
    #[prost(double, tag = "1")]
    pub min: f64,
    /// The highest value.
    #[prost(double, tag = "2")]
    pub max: f64,
    /// How many.
    #[prost(double, tag = "3")]
    pub num: f64,
    /// Their sum.
    #[prost(double, tag = "4")]
    pub sum: f64,
    /// The sum of their squares.
    #[prost(double, tag = "5")]
    pub sum_squares: f64,
    /// Upper limits, rising.
    #[prost(double, repeated, tag = "6")]
    pub bucket_limit: Vec<f64>,
    /// Counts.
    #[prost(double, repeated, tag = "7")]
    pub bucket: Vec<f64>,
}

/// A tensor without elements.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// 1 for floats.
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    /// Its shape.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShape>,
}

/// A shape.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShape {
    /// Its dimensions.
    #[prost(message, repeated, tag = "2")]
    pub dim: Vec<Dim>,
}

/// A dimension.
#[derive(Clone, PartialEq, Message)]
pub struct Dim {
    /// Its size.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

/// Whose a value is.
#[derive(Clone, PartialEq, Message)]
pub struct SummaryMetadata {
    /// A plugin and what it needs to know.
    #[prost(message, optional, tag = "1")]
    pub plugin_data: Option<PluginData>,
}

/// A plugin and what it needs to know.
#[derive(Clone, PartialEq, Message)]
pub struct PluginData {
    /// Such as `hparams`.
    #[prost(string, tag = "1")]
    pub plugin_name: String,
    /// The plugin's own message.
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
}

/// The message of the plugin for hyperparameters.
#[derive(Clone, PartialEq, Message)]
pub struct HParamsPluginData {
    /// 0.
    #[prost(int32, tag = "1")]
    pub version: i32,
    /// The run's hyperparameters.
    #[prost(message, optional, tag = "3")]
    pub session_start_info: Option<SessionStartInfo>,
}

/// The hyperparameters of a run.
#[derive(Clone, PartialEq, Message)]
pub struct SessionStartInfo {
    /// By name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub hparams: BTreeMap<String, HParam>,
    /// Runs of a group are repetitions of each other.
    #[prost(string, tag = "4")]
    pub group_name: String,
    /// Seconds since 1970.
    #[prost(double, tag = "5")]
    pub start_time_secs: f64,
}

/// A hyperparameter: `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
pub struct HParam {
    /// Its value.
    #[prost(oneof = "HParamValue", tags = "2, 3, 4")]
    pub kind: Option<HParamValue>,
}

/// Kinds of hyperparameters.
#[derive(Clone, PartialEq, Oneof)]
pub enum HParamValue {
    /// A number.
    #[prost(double, tag = "2")]
    Number(f64),
    /// A text.
    #[prost(string, tag = "3")]
    Text(String),
    /// Yes or no.
    #[prost(bool, tag = "4")]
    Bool(bool),
}
