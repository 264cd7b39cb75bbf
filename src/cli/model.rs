use crate::error::Result;
use crate::models::{Model, ModelSpec};

/// A built-in model or a model file, for images and classes as given: those of the model itself if nothing is, 10 classes
/// if only the images are.
pub(super) fn load(name: &str, input: Option<[usize; 3]>, classes: Option<u32>) -> Result<Model> {
    let spec = ModelSpec::load(name)?;
    if (input, classes) == (None, None) {
        return spec.unbound();
    }
    let image = input.map_or_else(|| spec.unbound().map(|model| model.input()), Ok)?;
    spec.bind(image, classes.map_or(10, |classes| classes as usize))
}
