use std::path::Path;

use crate::error::Result;
use crate::models::{Model, ModelSpec};
use crate::train::Run;

/// A built-in model, a model file or the model of a run, for images and classes as given: those of the model itself if nothing is, 10 classes
/// if only the images are.
pub(super) fn load(name: &str, input: Option<[usize; 3]>, classes: Option<u32>) -> Result<Model> {
    if Path::new(name).is_dir() {
        let (about, ..) = Run::open(Path::new(name))?.read_model()?;
        let classes = classes.map_or(about.classes.len(), |classes| classes as usize);
        return ModelSpec::parse(name, &about.model)?.bind(input.unwrap_or(about.image), classes);
    }
    let spec = ModelSpec::load(name)?;
    if (input, classes) == (None, None) {
        return spec.unbound();
    }
    let image = input.map_or_else(|| spec.unbound().map(|model| model.input()), Ok)?;
    spec.bind(image, classes.map_or(10, |classes| classes as usize))
}
