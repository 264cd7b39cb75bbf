macro_rules! zoo {
    ($($name:literal),* $(,)?) => {
        const ZOO: &[(&str, &str)] = &[$(($name, include_str!(concat!("zoo/", $name, ".toml")))),*];
    };
}

zoo![
    "seed-cnn",
    "digits-cnn",
    "lenet5",
    "mnist-tiny",
    "mnist-cnn",
    "small-cnn",
    "squeezenet1_1",
    "mobilenet_v2-cifar",
    "mobilenet_v3_small",
    "wide_resnet16_4-cifar",
    "mobilenet_v2",
    "efficientnet_b0",
    "densenet121",
    "airbench94-cifar",
    "resnet18-cifar",
    "resnet18",
    "resnet34-cifar",
    "resnet34",
    "resnet50-cifar",
    "resnet50",
    "convnext_tiny",
    "wide_resnet50_2",
    "vgg11_bn",
    "vgg16_bn",
];

/// The names of the built-in models, from small to large.
pub fn built_in() -> impl Iterator<Item = &'static str> {
    ZOO.iter().map(|(name, _)| *name)
}

/// The model file of a built-in model.
pub(super) fn text(name: &str) -> Option<&'static str> {
    ZOO.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
