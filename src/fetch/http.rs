use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

#[cfg(feature = "download")]
use super::receive::receive;
use crate::error::{Error, Result};

/// A file and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its address.
    pub url: &'a str,
    /// Where it is to be.
    pub path: &'a Path,
    /// Its MD5 in hexadecimal, if that is known: against accidents, not against malice.
    pub md5: Option<&'a str>,
}

/// Downloads a file, unless it is there already; `progress` is told the bytes so far and, if known, of all.
///
/// What has come is kept as `NAME.part`, and the next call goes on from there if the server still has the same file. The
/// file takes its name when it is whole, and of the right MD5.
///
/// # Errors
/// [`Error::Download`], which says where to put the file by hand.
pub fn fetch(file: &File<'_>, progress: &dyn Fn(u64, Option<u64>)) -> Result<()> {
    if file.path.is_file() && matches(file, file.path)? {
        return Ok(());
    }
    let part = with_ending(file.path, ".part");
    let folder = file.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
    let failed = |message: String| Error::Download {
        url: file.url.to_string(),
        message: format!(
            "{message}; what has come is kept, and the same command goes on from there; without the net, put that file \
             at {}",
            file.path.display()
        ),
    };
    receive(file, &part, progress).map_err(|error| match error {
        Failure::Net(message) => failed(message),
        Failure::Disk(error) => error,
    })?;
    if !matches(file, &part)? {
        forget(&part);
        return Err(Error::Download {
            url: file.url.to_string(),
            message: "came with another MD5 than it should have; it was not kept, try again".to_string(),
        });
    }
    fs::rename(&part, file.path).map_err(Error::io("write", file.path))?;
    forget(&part);
    Ok(())
}

/// Why a download stopped.
pub(super) enum Failure {
    /// What the net or the server says.
    Net(String),
    /// What the disk says.
    #[cfg_attr(not(feature = "download"), expect(dead_code, reason = "there is no client that writes"))]
    Disk(Error),
}

/// A build without the feature `download` has no client.
#[cfg(not(feature = "download"))]
fn receive(_: &File<'_>, _: &Path, _: &dyn Fn(u64, Option<u64>)) -> std::result::Result<(), Failure> {
    Err(Failure::Net("this wgrad was built without its feature \"download\"".to_string()))
}

/// Whether a file has the right MD5; if that is not known, yes.
fn matches(file: &File<'_>, path: &Path) -> Result<bool> {
    let Some(wanted) = file.md5 else { return Ok(true) };
    let mut source = fs::File::open(path).map_err(Error::io("read", path))?;
    let mut digest = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match source.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    let found: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(found == wanted)
}

/// Removes a part and its tag; that there are none is fine.
fn forget(part: &Path) {
    let _ = fs::remove_file(part);
    let _ = fs::remove_file(with_ending(part, ".etag"));
}

pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(ending);
    name.into()
}
