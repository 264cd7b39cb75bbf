//! The one error type of the library. Messages are lower case, say what, where and what to do, and end without a
//! full stop; the command line prints them as they are.

use std::path::{Path, PathBuf};

/// What can go wrong in wgrad.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operator cannot take its inputs; names node, operator and the shapes.
    #[error("{op} \"{node}\": {message}")]
    Shape {
        /// The operator, as in the registry.
        op: &'static str,
        /// The node's path, such as `layer1.0.conv1`.
        node: String,
        /// What does not fit, with both shapes.
        message: String,
    },
    /// A model file or model name is wrong.
    #[error("model {0}")]
    Model(String),
    /// A recipe or a flag has a bad value (exit code 2).
    #[error("{0}")]
    Recipe(String),
    /// A data set is malformed; names the file or the sample.
    #[error("{0}")]
    Data(String),
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// "read", "write", "create", ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file of weights, a checkpoint or a run folder is damaged or does not fit.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        message: String,
    },
    /// A file could not be had from the net.
    #[error("cannot download {url}: {message}")]
    Download {
        /// Its address.
        url: String,
        /// Why not, and what to do.
        message: String,
    },
    /// No device fits the request.
    #[error("{0}")]
    NoDevice(String),
    /// The device failed while working.
    #[error("the device {device} failed: {message}")]
    Device {
        /// The adapter's name.
        device: String,
        /// The driver's or wgpu's words.
        message: String,
    },
    /// The device was lost (driver reset, unplugged, out of time).
    #[error(
        "the device {device} was lost: {message}; the last checkpoint is intact, `wgrad resume` continues from it"
    )]
    DeviceLost {
        /// The adapter's name.
        device: String,
        /// The driver's or wgpu's words.
        message: String,
    },
    /// The device has not enough memory.
    #[error(
        "the device {device} has not enough memory for {what}; use a smaller batch size, smaller images or a smaller model"
    )]
    OutOfMemory {
        /// The adapter's name.
        device: String,
        /// What was being allocated.
        what: String,
    },
    /// The loss or the gradient norm became NaN or infinite; the weights are those before the step.
    #[error(
        "the loss became {loss} at step {step} (gradient norm {grad_norm}); training stopped, and the last checkpoint \
         is kept: try a lower learning rate, --clip-norm or more --warmup-steps (docs/getting-started.md has more)"
    )]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// The loss of that step.
        loss: f32,
        /// The gradient norm of that step.
        grad_norm: f32,
    },
    /// A weight or a running statistic overflowed though the loss was still finite.
    #[error(
        "\"{name}\" became infinite or NaN by step {step}; training stopped, and the last checkpoint is kept: try a \
         lower learning rate, --clip-norm or more --warmup-steps (docs/getting-started.md has more)"
    )]
    NotFiniteWeights {
        /// Steps done.
        step: u64,
        /// The parameter or statistic.
        name: String,
    },
    /// The user asked to stop (Ctrl-C).
    #[error("interrupted at step {step}; `wgrad resume {}` continues", run.display())]
    Interrupted {
        /// Steps done.
        step: u64,
        /// The run folder.
        run: PathBuf,
    },
}

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Io`] for `map_err`: `read(&path).map_err(Error::io("read", &path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// An [`Error::File`].
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Error {
        Error::File { path: path.as_ref().to_path_buf(), message: message.into() }
    }
}

/// What to do about an error of the operating system, where that can be said.
fn advice(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "; check the path",
        ErrorKind::IsADirectory => "; give a file, not a folder",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "; give a path on which no file stands",
        ErrorKind::PermissionDenied => "; ask for the right to, or give another path",
        ErrorKind::ReadOnlyFilesystem => "; give a path on another disk",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room, or give a path on another disk",
        _ => "",
    }
}

/// The candidate closest to `word`, for "did you mean" (Jaro-Winkler similarity, at least 0.7).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
