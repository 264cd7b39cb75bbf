//! A file of decoded images, so that a folder is decoded once and not in every run.
//!
//! A line of JSON says what the images were decoded from and how; their bytes follow, then an MD5
//! of all that: against accidents, not against malice. The file is replaced whole
//! or not at all, and made again when anything has changed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::file::bad;
use crate::error::{Error, Result};
use crate::files;

/// Begins the file; the number changes with the format.
const MAGIC: &str = "wgrad decoded images 1";

/// Bytes of a line, at most: labels of some ten million images.
const LONGEST_LINE: u64 = 1 << 28;

/// What is known about decoded images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Contents {
    /// What they were decoded from and how: equal only if nothing has changed.
    pub(super) key: String,
    /// Channels, height and width of training and test images.
    pub(super) images: [[usize; 3]; 2],
    /// Labels of training and test images.
    pub(super) labels: [Vec<i32>; 2],
    /// What was left out, and why.
    pub(super) skipped: Vec<String>,
}

impl Contents {
    /// Bytes of the training and of the test images.
    pub(super) fn bytes(&self) -> [u64; 2] {
        [0, 1].map(|part| self.images[part].iter().product::<usize>() as u64 * self.labels[part].len() as u64)
    }
}

/// What files were when they were decoded: path, length and time of the last change.
pub(super) fn key(how: &str, paths: &[&PathBuf]) -> Result<String> {
    let mut sum = Md5::new();
    sum.update(how.as_bytes());
    for path in paths {
        let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
        let changed =
            metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let changed = changed.unwrap_or_default().as_nanos();
        sum.update(format!("{}\n{}\n{changed}\n", path.display(), metadata.len()).as_bytes());
    }
    let sum: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{how}, {} files, {sum}", paths.len()))
}

/// Images in a file, one after another, read when they are needed.
#[derive(Clone, Debug)]
pub struct StoredImages {
    file: Arc<Mutex<File>>,
    path: Arc<PathBuf>,
    /// Where the first image begins.
    start: u64,
}

impl StoredImages {
    /// Reads the image of this number into `out`, whose length is that of an image.
    pub(super) fn read(&self, image: u32, out: &mut [u8]) -> Result<()> {
        // A thread that panicked while it read left nothing half done: the place is set anew each time.
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let at = self.start + u64::from(image) * out.len() as u64;
        let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(out));
        read.map_err(Error::io("read", self.path.as_path()))
    }

    /// All bytes of so many images.
    pub(super) fn read_all(&self, len: u64) -> Result<Vec<u8>> {
        let mut bytes = super::file::reserve(&self.path, len)?;
        bytes.resize(len as usize, 0);
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }
}

/// Opens the file if it is whole and of this key: what it says, and its training and test images.
pub(super) fn open(path: &Path, key: &str) -> Result<Option<(Contents, [StoredImages; 2])>> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut line = || {
        let mut line = vec![];
        let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        read.map(|_| line).map_err(Error::io("read", path))
    };
    let magic = line()?;
    if magic.trim_ascii_end() != MAGIC.as_bytes() {
        return Err(bad(path, "is no file of decoded images; give --cache another name"));
    }
    let text = line()?;
    let Ok(contents) = serde_json::from_slice::<Contents>(&text) else { return Ok(None) };
    if contents.key != key {
        return Ok(None);
    }
    let start = (magic.len() + text.len()) as u64;
    let [train, test] = contents.bytes();
    if !is_whole(&mut reader, &text, train + test).map_err(Error::io("read", path))? {
        return Ok(None);
    }
    let file = Arc::new(Mutex::new(reader.into_inner()));
    let images = |start| StoredImages { file: file.clone(), path: Arc::new(path.to_path_buf()), start };
    Ok(Some((contents, [images(start), images(start + train)])))
}

/// Whether the bytes that follow are as many as they should be and have the checksum at their end.
fn is_whole(reader: &mut impl Read, header: &[u8], len: u64) -> std::io::Result<bool> {
    let mut sum = Md5::new();
    sum.update(header);
    let mut left = len;
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let part = &mut buffer[..left.min(1 << 20) as usize];
        if let Err(error) = reader.read_exact(part) {
            return if error.kind() == std::io::ErrorKind::UnexpectedEof { Ok(false) } else { Err(error) };
        }
        sum.update(&*part);
        left -= part.len() as u64;
    }
    let mut end = vec![];
    let sum = sum.finalize();
    reader.take(sum.len() as u64 + 1).read_to_end(&mut end)?;
    Ok(end == sum.as_slice())
}

/// Writes the file; `decode` hands over the bytes of the images in order.
pub(super) fn write(
    path: &Path,
    contents: &Contents,
    decode: impl FnOnce(&mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> Result<()>,
) -> Result<()> {
    let failed = |error| Error::io("write", path)(error);
    files::write_whole(path, |file| {
        let text = serde_json::to_string(contents).map_err(|error| bad(path, error.to_string()))? + "\n";
        let mut sum = Md5::new();
        sum.update(text.as_bytes());
        write!(file, "{MAGIC}\n{text}").map_err(failed)?;
        decode(&mut |bytes| {
            sum.update(bytes);
            file.write_all(bytes)
        })?;
        file.write_all(&sum.finalize()).map_err(failed)
    })
}
