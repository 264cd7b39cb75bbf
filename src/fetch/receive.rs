//! The client: what has come of a file is kept, and the next call goes on from there.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::http::{Failure, File, with_ending};
use crate::error::Error;

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Receives a file into `part`, from where that ends.
pub(super) fn receive(
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
