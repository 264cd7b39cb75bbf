use std::path::{Path, PathBuf};

use super::{File, fetch};
use crate::error::{Error, Result};

/// The environment variable that names another hub, as in the hub's own tools.
pub const HUB_ENDPOINT: &str = "HF_ENDPOINT";

const HOME: &str = "https://huggingface.co";

/// The file that most repositories keep their weights in.
const WEIGHTS: &str = "model.safetensors";

/// The weights that `OWNER/NAME` or `OWNER/NAME/FILE` means on a hub, downloaded into `cache` unless they are there.
///
/// # Errors
/// If the name is none, or the file cannot be had; then the error says where to put it.
pub fn hub_file(name: &str, cache: Option<&Path>, progress: &dyn Fn(u64, Option<u64>)) -> Result<PathBuf> {
    let parts: Vec<&str> = name.splitn(3, '/').collect();
    let plain = |part: &&str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        !part.is_empty()
            && !part.split('/').any(|step| step.is_empty() || step == "..")
            && part.chars().all(allowed)
    };
    let (owner, model, file) = match parts[..] {
        [owner, model] => (owner, model, WEIGHTS),
        [owner, model, file] => (owner, model, file),
        _ => ("", "", ""),
    };
    if ![owner, model, file].iter().all(plain) {
        return Err(Error::Recipe(format!("\"hf:{name}\" is no name on the hub; it is hf:OWNER/NAME")));
    }
    let endpoint = std::env::var(HUB_ENDPOINT).ok().filter(|endpoint| !endpoint.is_empty());
    let endpoint = endpoint.as_deref().unwrap_or(HOME).trim_end_matches('/');
    let url = format!("{endpoint}/{owner}/{model}/resolve/main/{file}");
    let Some(cache) = cache else {
        return Err(Error::Download {
            url,
            message: "there is no cache folder to keep it in; download it yourself and give the file's path"
                .to_string(),
        });
    };
    let path = cache.join("hub").join(owner).join(model).join(file);
    // What is in the cache is not asked for again: a run is to repeat without the net.
    if !path.is_file() {
        fetch(&File { url: &url, path: &path, md5: None }, progress)?;
    }
    Ok(path)
}
