use std::path::{Path, PathBuf};

use super::report::{bar, say};
use super::train::Prepared;
use crate::error::Result;
use crate::fetch::hub_file;
use crate::train::weights::TensorFile;
use crate::train::{CacheFolder, Trainer, adopt as adopt_tensors};

/// Puts pretrained weights in place of the initial ones, and says what is new.
pub(super) fn adopt(trainer: &mut Trainer<'_>, source: &str, prepared: &Prepared) -> Result<()> {
    let path = locate(source, prepared.recipe.quiet)?;
    take(trainer, &TensorFile::read(&path)?, &path, prepared)
}

/// The same of weights that were read from `path`.
pub(super) fn take(
    trainer: &mut Trainer<'_>,
    file: &TensorFile,
    path: &Path,
    prepared: &Prepared,
) -> Result<()> {
    let mut tensors = trainer.initial()?;
    let adopted = adopt_tensors(&mut tensors, file, &prepared.head, path)?;
    trainer.set_model(&tensors);
    if !adopted.fresh.is_empty() {
        let theirs =
            adopted.classes.map_or("has none".to_string(), |classes| format!("is for {classes} classes"));
        eprintln!(
            "note: {} start anew: the head of {} {theirs}, the data has {}",
            adopted.fresh.join(", "),
            path.display(),
            prepared.data.classes.len()
        );
    }
    if !prepared.recipe.quiet {
        let taken = tensors.len() - adopted.fresh.len();
        say(format!("init    {taken} of {} tensors from {}", tensors.len(), path.display()));
    }
    Ok(())
}

/// The file that `--pretrained` means, from the hub if it is not here.
fn locate(source: &str, quiet: bool) -> Result<PathBuf> {
    let Some(name) = source.strip_prefix("hf:") else { return Ok(PathBuf::from(source)) };
    let cache = CacheFolder::of_user();
    let bar = bar(0, "downloading {wide_bar} {bytes}/{total_bytes} {eta}", quiet);
    let path = hub_file(name, cache.as_ref().map(CacheFolder::path), &|done, total| {
        bar.set_length(total.unwrap_or(done));
        bar.set_position(done);
    });
    bar.finish_and_clear();
    path
}
