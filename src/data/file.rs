//! Opening and reading the files of data sets, with the errors that all formats share.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// Something is wrong with the data at `path`.
pub(super) fn bad(path: &Path, message: impl AsRef<str>) -> Error {
    Error::Data(format!("{}: {}", path.display(), message.as_ref()))
}

/// Opens a regular file and tells its length. Anything else (a folder, a pipe that would block) is refused.
pub(super) fn open(path: &Path, what: &str) -> Result<(File, u64)> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, error, "file", what))?;
    if metadata.is_dir() {
        return Err(bad(path, format!("is a folder; expected {what}")));
    }
    if !metadata.is_file() {
        return Err(bad(path, format!("is not a regular file; expected {what}")));
    }
    let file = File::open(path).map_err(Error::io("read", path))?;
    Ok((file, metadata.len()))
}

/// The bytes of a file; memory is asked for by the file's length, not by what its header claims.
pub(super) fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    let (file, len) = open(path, what)?;
    let mut bytes = reserve(path, len)?;
    file.take(len).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// An empty vector with room for `len` elements, or an error where the memory for it is not there.
pub(super) fn reserve<T>(path: &Path, len: u64) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    let reserved = usize::try_from(len).ok().and_then(|len| vector.try_reserve_exact(len).ok());
    reserved
        .ok_or_else(|| bad(path, format!("{len} elements do not fit in memory; use a smaller data set")))?;
    Ok(vector)
}

/// Fails unless `path` is a folder; `what` says what is expected there.
pub(super) fn require_folder(path: &Path, what: &str) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, error, "folder", what))?;
    if metadata.is_dir() {
        Ok(())
    } else {
        Err(bad(path, format!("is a file; expected a folder with {what}")))
    }
}

fn unreadable(path: &Path, error: io::Error, kind: &str, what: &str) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => bad(path, format!("no such {kind}; expected {what}")),
        _ => Error::io("read", path)(error),
    }
}
