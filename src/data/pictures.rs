//! Image files in a folder and the folders in it.

use std::path::{Path, PathBuf};

use super::folder::{image_files, visible};
use crate::error::Result;

/// The image files under a folder by their extensions, sorted within each folder, those of a folder before those of the
/// folders in it. Hidden ones are left out, and links to folders, which may lead in circles.
///
/// # Errors
/// If a folder cannot be read.
pub fn images_under(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut images = image_files(folder)?;
    for (_, path) in visible(folder)? {
        if path.is_dir() && !path.is_symlink() {
            images.extend(images_under(&path)?);
        }
    }
    Ok(images)
}
