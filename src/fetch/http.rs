use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use md5::{Digest, Md5};

use crate::error::{Error, Result};

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

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
enum Failure {
    Net(String),
    Disk(Error),
}

fn receive(
    file: &File<'_>,
    part: &Path,
    progress: &dyn Fn(u64, Option<u64>),
) -> std::result::Result<(), Failure> {
    let net = |error: &dyn std::fmt::Display| Failure::Net(error.to_string());
    let disk = |error: io::Error| Failure::Disk(Error::io("write", part)(error));
    let tag_file = with_ending(part, ".etag");
    let tag = fs::read_to_string(&tag_file).ok();
    // Without the server's word that it is the same file, or a checksum to find out, a part is worth nothing.
    let known = tag.is_some() || file.md5.is_some();
    let have = fs::metadata(part).ok().filter(|_| known).map_or(0, |metadata| metadata.len());
    let mut request = agent().get(file.url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
        if let Some(tag) = &tag {
            request = request.header("If-Range", tag);
        }
    }
    let response = request.call().map_err(|error| net(&error))?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let length: Option<u64> = header("content-length").and_then(|length| length.parse().ok());
    let done = match response.status().as_u16() {
        206 if header("content-range").is_some_and(|range| range.starts_with(&format!("bytes {have}-"))) => {
            have
        }
        // All of it was there before.
        416 if have > 0 && file.md5.is_some() => return Ok(()),
        200 => 0,
        status => return Err(Failure::Net(format!("the server answers with status {status}"))),
    };
    match header("etag").filter(|tag| !tag.starts_with("W/")) {
        Some(tag) => fs::write(&tag_file, tag).map_err(disk)?,
        None => drop(fs::remove_file(&tag_file)),
    }
    let total = length.map(|length| done + length);
    let mut target = OpenOptions::new();
    let target = if done > 0 { target.append(true) } else { target.write(true).create(true).truncate(true) };
    let mut target = target.open(part).map_err(disk)?;
    let mut body = response.into_body().into_reader();
    let (mut buffer, mut done) = (vec![0; 1 << 16], done);
    progress(done, total);
    loop {
        let count = match body.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(net(&error)),
        };
        if count == 0 {
            break;
        }
        target.write_all(&buffer[..count]).map_err(disk)?;
        done += count as u64;
        progress(done, total);
    }
    target.sync_all().map_err(disk)?;
    match total {
        Some(total) if done < total => {
            Err(Failure::Net(format!("the connection ended after {done} of {total} bytes")))
        }
        _ => Ok(()),
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("wgrad/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE));
    config.build().into()
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

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(ending);
    name.into()
}
