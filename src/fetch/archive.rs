use std::fs;
use std::path::Path;

use flate2::read::GzDecoder;
use tar::Archive;

use crate::error::{Error, Result};
use crate::files;

/// Whether the folder has all these files, of these sizes.
pub(super) fn is_unpacked(folder: &Path, files: &[(&str, u64)]) -> bool {
    files.iter().all(|(name, bytes)| {
        fs::metadata(folder.join(name)).is_ok_and(|metadata| metadata.is_file() && metadata.len() == *bytes)
    })
}

/// Unpacks these files of a .tar.gz, in whichever of its folders they lie, right into `folder`.
pub(super) fn unpack(archive: &Path, folder: &Path, files: &[(&str, u64)]) -> Result<()> {
    let damaged = |error: std::io::Error| Error::file(archive, format!("cannot be unpacked: {error}"));
    let file = fs::File::open(archive).map_err(Error::io("read", archive))?;
    let mut entries = Archive::new(GzDecoder::new(file));
    for entry in entries.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((name, bytes)) = files.iter().find(|(known, _)| *known == name) else { continue };
        if entry.size() != *bytes {
            return Err(Error::file(archive, format!("has {name} of {} bytes, not {bytes}", entry.size())));
        }
        files::write_whole(&folder.join(name), |mut target| {
            std::io::copy(&mut entry, &mut target).map(drop).map_err(damaged)
        })?;
    }
    match files.iter().find(|file| !is_unpacked(folder, &[**file])) {
        Some((name, _)) => Err(Error::file(archive, format!("has no {name}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use tar::{Builder, Header};

    use super::*;

    /// Name and content.
    type Entry<'a> = (&'a str, &'a [u8]);

    fn archive(files: &[Entry<'_>]) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(vec![], Compression::fast()));
        for (name, bytes) in files {
            let mut header = Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn what_is_wanted_is_unpacked_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.gz");
        let wanted = [("one.bin", 3), ("two.txt", 2)];
        let cases: [(&[Entry<'_>], &str); 3] = [
            (&[("set/one.bin", b"123"), ("set/two.txt", b"45"), ("set/readme", b"6")], ""),
            (&[("one.bin", b"123")], "has no two.txt"),
            (&[("set/one.bin", b"1234"), ("set/two.txt", b"45")], "has one.bin of 4 bytes, not 3"),
        ];
        for (files, message) in cases {
            fs::write(&path, archive(files)).unwrap();
            let out = tempfile::tempdir().unwrap();
            match unpack(&path, out.path(), &wanted) {
                Ok(()) => assert!(message.is_empty() && is_unpacked(out.path(), &wanted)),
                Err(error) => assert!(error.to_string().ends_with(message), "{error}"),
            }
            assert!(!out.path().join("readme").exists());
        }
        fs::write(&path, &archive(cases[0].0)[..40]).unwrap();
        let error = unpack(&path, folder.path(), &wanted).unwrap_err().to_string();
        assert!(error.contains("a.tar.gz"), "{error}");
    }
}
