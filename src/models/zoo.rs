macro_rules! zoo {
    ($($name:literal),* $(,)?) => {
        const ZOO: &[(&str, &str)] = &[$(($name, include_str!(concat!("zoo/", $name, ".toml")))),*];
    };
}

zoo!["seed-cnn", "digits-cnn", "lenet5", "small-cnn", "mobilenet_v2-cifar", "resnet18-cifar", "resnet50"];

/// The names of the built-in models, from small to large.
pub fn built_in() -> impl Iterator<Item = &'static str> {
    ZOO.iter().map(|(name, _)| *name)
}

/// The model file of a built-in model.
pub(super) fn text(name: &str) -> Option<&'static str> {
    ZOO.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
