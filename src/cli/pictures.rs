//! Files, folders and patterns as a list of image files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::data::images_under;
use crate::error::{Error, Result};

/// The image files that arguments name, in their order, each once: files as they are, whatever their names; what is of
/// an image's extension under folders; what patterns such as `album/**/*.png` match, for shells that expand none.
///
/// # Errors
/// If a folder has no images, or a pattern matches nothing. What is neither is left for its reader to refuse.
pub(super) fn pictures(arguments: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let (mut found, mut seen) = (vec![], HashSet::new());
    for argument in arguments {
        let of_argument = match argument.exists() {
            true => under(argument)?,
            false => match argument.to_str().filter(|text| text.contains(['*', '?', '['])) {
                Some(pattern) => matching(pattern)?,
                None => vec![argument.clone()],
            },
        };
        // A file that is named twice is meant twice; one that is also in a named folder is not.
        let is_file = of_argument.len() == 1 && of_argument[0] == *argument;
        found.extend(of_argument.into_iter().filter(|path| seen.insert(path.clone()) || is_file));
    }
    Ok(found)
}

fn under(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let images = images_under(path)?;
    if images.is_empty() {
        return Err(Error::Data(format!("{}: is a folder without images", path.display())));
    }
    Ok(images)
}

fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    // As shells do it: what is hidden is named only by a pattern with the point.
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
    let paths = glob::glob_with(pattern, options)
        .map_err(|error| Error::Recipe(format!("{pattern}: is no pattern: {error}")))?;
    let mut found = vec![];
    for path in paths {
        let path = path.map_err(|error| Error::Data(error.to_string()))?;
        if path.is_dir() {
            // A pattern may match folders that hold none.
            found.extend(images_under(&path)?);
        } else {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Error::Data(format!("{pattern}: matches no image")));
    }
    Ok(found)
}
