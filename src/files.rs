//! Reading and writing files so that nothing is lost: a file is written under a temporary name, synced and renamed.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Begins the names of files that are being written.
const TEMPORARY: &str = ".wgrad-";

/// Whether a file's name is that of one that is being written, or was when its process was killed.
pub fn is_temporary(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

/// Replaces a file by what `write` writes, or leaves it as it was.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    write_whole(path, |file| write(file).map_err(Error::io("write", path)))
}

/// Replaces a file by these bytes, or leaves it as it was.
pub fn write_bytes(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    write_atomic(path, |file| file.write_all(bytes.as_ref()))
}

/// [`write_atomic`] for what may fail by itself: such an error is given back as it is.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        // A rename would put a file in the place of /dev/null.
        return Err(Error::file(path, "is a folder or a device; give the name of a file"));
    }
    let failed = Error::io("write", path);
    // Asked first, because the other error would name the temporary file.
    if let Err(error) = fs::metadata(folder) {
        return Err(failed(error));
    }
    let mut temporary = match tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder) {
        Ok(temporary) => temporary,
        Err(error) => return Err(failed(error)),
    };
    let mut buffered = std::io::BufWriter::new(temporary.as_file_mut());
    write(&mut buffered)?;
    let flushed = buffered.flush();
    drop(buffered);
    let replace = || {
        flushed?;
        temporary.as_file().sync_all()?;
        set_permissions(temporary.as_file())?;
        temporary.persist(path)?;
        sync_folder(folder)
    };
    replace().map_err(failed)
}

/// Temporary files are private; what a run leaves behind is as readable as any other file.
#[cfg(unix)]
fn set_permissions(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_permissions(_: &File) -> std::io::Result<()> {
    Ok(())
}

/// Makes a rename durable. Folders can be synced on Unix only.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The content of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io("read", path))
}

/// The content of a text file.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = read(path)?;
    String::from_utf8(bytes).map_err(|_| Error::file(path, "is not a text file"))
}
