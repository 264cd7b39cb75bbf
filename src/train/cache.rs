use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::files;
use crate::gpu::{PipelineKey, PipelineStore};

/// The environment variable that names the folder, or turns it off.
pub const VARIABLE: &str = "WGRAD_CACHE";

/// First bytes of a file of pipelines, with the version of its format.
const MAGIC: &[u8] = b"wgrad pipelines 1\n";

/// A folder of what can be made again: losing it costs time, never a result.
#[derive(Debug)]
pub struct CacheFolder {
    path: PathBuf,
    notes: Mutex<Vec<String>>,
}

impl CacheFolder {
    /// A folder that is made when something is first kept in it.
    pub fn new(path: impl Into<PathBuf>) -> CacheFolder {
        CacheFolder { path: path.into(), notes: Mutex::default() }
    }

    /// The user's: the one that `WGRAD_CACHE` names, none if that is `off`, or else `wgrad` in the system's place for
    /// caches.
    pub fn of_user() -> Option<CacheFolder> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(given) = set(VARIABLE) {
            return (given != "off").then(|| CacheFolder::new(given));
        }
        let home = || set("HOME").map(PathBuf::from);
        let folder = if cfg!(windows) {
            set("LOCALAPPDATA").map(PathBuf::from)
        } else if cfg!(target_os = "macos") {
            home().map(|home| home.join("Library/Caches"))
        } else {
            let given = set("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            given.or_else(|| home().map(|home| home.join(".cache")))
        };
        folder.map(|folder| CacheFolder::new(folder.join("wgrad")))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was found damaged or could not be written, since this was last asked.
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The content of a file in the folder, if it exists and can be read.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path.join(name)).ok()
    }

    /// Replaces a file in the folder.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(Error::io("make the folder", &self.path))?;
        files::write_bytes(&self.path.join(name), content)
    }

    /// Keeps a line for [`CacheFolder::take_notes`].
    pub fn note(&self, line: String) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

impl PipelineStore for CacheFolder {
    fn load(&self, key: &PipelineKey) -> Option<Vec<u8>> {
        let name = file_name(key);
        let content = self.read(&name)?;
        match unpack(&content, key) {
            Ok(found) => Some(found.to_vec()),
            Err(what) => {
                let path = self.path.join(&name);
                self.note(format!("{} is {what}; kernels are compiled anew", path.display()));
                None
            }
        }
    }

    fn save(&self, key: &PipelineKey, bytes: &[u8]) {
        if let Err(error) = self.write(&file_name(key), &pack(bytes, key)) {
            self.note(format!("compiled kernels are not kept: {error}"));
        }
    }
}

/// One file per device: a new version of wgrad or of a driver replaces what the old one kept.
fn file_name(key: &PipelineKey) -> String {
    let device: String = key
        .device
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let start: String = device.chars().take(40).collect();
    format!("pipelines-{}-{:08x}", start.trim_matches('-'), checksum(key.device.as_bytes()) as u32)
}

/// The bytes with what they belong to and a checksum over both.
fn pack(bytes: &[u8], key: &PipelineKey) -> Vec<u8> {
    let belongs = format!("{}\n{}\n", key.device.replace('\n', " "), key.version);
    let body = [belongs.as_bytes(), bytes].concat();
    [MAGIC, &checksum(&body).to_le_bytes(), &body].concat()
}

/// What was packed for the key, or what is the matter with it.
fn unpack<'a>(content: &'a [u8], key: &PipelineKey) -> Result<&'a [u8], &'static str> {
    let content = content.strip_prefix(MAGIC).and_then(|content| content.split_first_chunk::<8>());
    let intact = content.filter(|(sum, body)| u64::from_le_bytes(**sum) == checksum(body));
    let (_, body) = intact.ok_or("damaged")?;
    let belongs = format!("{}\n{}\n", key.device.replace('\n', " "), key.version);
    body.strip_prefix(belongs.as_bytes()).ok_or("of another build of wgrad")
}

/// FNV-1a: against accidents, not against malice; whoever can write into the user's folder can do worse.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PipelineKey {
        PipelineKey { device: "A GPU, driver 1.2".to_string(), version: "wgrad 0, shaders 1".to_string() }
    }

    #[test]
    fn what_was_kept_comes_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheFolder::new(folder.path().join("deep/er"));
        assert_eq!(cache.load(&key()), None);
        for bytes in [&b""[..], b"\n\n", &[7; 10_000]] {
            cache.save(&key(), bytes);
            assert_eq!(cache.load(&key()).as_deref(), Some(bytes));
        }
        assert_eq!(cache.take_notes(), Vec::<String>::new());
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1, "old files are replaced");
    }

    #[test]
    fn damaged_and_foreign_files_are_passed_over_with_a_note() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheFolder::new(folder.path());
        cache.save(&key(), &[1, 2, 3]);
        let path = folder.path().join(file_name(&key()));
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert_eq!(cache.load(&key()), None, "cut to {len} bytes");
            let mut flipped = whole.clone();
            flipped[len] ^= 4;
            fs::write(&path, flipped).unwrap();
            assert_eq!(cache.load(&key()), None, "byte {len} changed");
        }
        let notes = cache.take_notes();
        assert_eq!(notes.len(), 2 * whole.len());
        assert!(notes.iter().all(|note| note.contains("is damaged")), "{notes:?}");
        fs::write(&path, whole).unwrap();
        let newer = PipelineKey { version: "wgrad 1, shaders 1".to_string(), ..key() };
        assert_eq!(cache.load(&newer), None);
        let driver = PipelineKey { device: "A GPU, driver 1.3".to_string(), ..key() };
        assert_ne!(file_name(&driver), file_name(&key()));
        let notes = cache.take_notes();
        assert!(notes.len() == 1 && notes[0].contains("is of another build"), "{notes:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_note() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let cache = CacheFolder::new(file.join("inside"));
        cache.save(&key(), &[1]);
        let notes = cache.take_notes();
        assert!(notes.len() == 1 && notes[0].contains("not kept"), "{notes:?}");
    }
}
