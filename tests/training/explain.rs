//! Explanations lie where the evidence is, on networks whose weights say where that must be.

use pollster::block_on;
use tempfile::TempDir;
use wgrad::data::Normalization;
use wgrad::models::ModelSpec;
use wgrad::tensor::HostTensor;
use wgrad::train::weights::{TensorFile, Tensors};
use wgrad::train::{Device, Explainer, Heat, Predictor, Run, RunModel};

use super::setup::devices;

/// The heat of class 1 of two in a picture of 8x8, and whether parts were hidden for it.
fn heat(
    device: &Device,
    layers: &str,
    tensors: &[(&str, &[usize], Vec<f32>)],
    pixels: &[f32],
) -> (Heat, bool) {
    let folder = TempDir::new().unwrap();
    let run = Run { path: folder.path().to_path_buf() };
    let model = ModelSpec::parse("net", layers).unwrap().bind([1, 8, 8], 2).unwrap();
    let tensors = tensors
        .iter()
        .map(|(name, shape, data)| (name.to_string(), HostTensor::new(shape.to_vec(), data.clone())));
    let tensors: Tensors = tensors.collect();
    let about = RunModel {
        image: [1, 8, 8],
        classes: vec!["no".to_string(), "yes".to_string()],
        normalization: None::<Normalization>,
        resize: None,
        model: model.to_toml().unwrap().to_string(),
    };
    let weights = TensorFile { tensors, ..Default::default() };
    let mut explainer = block_on(Explainer::new((&about, &model, &weights), &run, device)).unwrap();
    let mut predictor = block_on(Predictor::of((&about, &model, &weights), &run, device, 16)).unwrap();
    let heat = block_on(explainer.heat(&mut predictor, pixels, 1)).unwrap();
    (heat, explainer.occludes())
}

/// The share of the heat that lies in the lower right quarter.
fn in_the_corner(heat: &Heat) -> f32 {
    let [rows, columns] = heat.size;
    let inside = |place: usize| place / columns >= rows / 2 && place % columns >= columns / 2;
    let corner: f32 =
        heat.map.iter().enumerate().filter(|(place, _)| inside(*place)).map(|(_, heat)| heat).sum();
    corner / heat.map.iter().sum::<f32>()
}

/// Weights of a linear layer of 64 inputs whose second class sees only the lower right quarter.
fn corner_weights() -> Vec<f32> {
    let of_yes = (0..64).map(|place| if place / 8 >= 4 && place % 8 >= 4 { 1.0 } else { 0.0 });
    [0.1; 64].into_iter().chain(of_yes).collect()
}

#[test]
fn a_network_that_flattens_is_explained_by_where_it_looks() {
    let layers = r#"layers = [{ conv2d = { out_channels = 1, kernel_size = 1, bias = false } }, "relu", "flatten", { linear = { out_features = 2, bias = false } }]"#;
    let weights = [("0.weight", &[1, 1, 1, 1][..], vec![1.0]), ("3.weight", &[2, 64][..], corner_weights())];
    for device in devices() {
        let (heat, occludes) = heat(&device, layers, &weights, &[1.0; 64]);
        assert!(!occludes && heat.size == [8, 8], "{}: {heat:?}", device.name());
        assert_eq!(in_the_corner(&heat), 1.0, "{}: {heat:?}", device.name());
        assert!(heat.map.iter().all(|heat| [0.0, 1.0].contains(heat)), "{heat:?}");
    }
}

#[test]
fn a_network_that_pools_is_explained_by_what_it_finds() {
    // Channel 0 finds what is bright, channel 1 what is dark; the class "yes" is for the bright.
    let layers = r#"layers = [{ conv2d = { out_channels = 2, kernel_size = 1 } }, "relu", { max_pool2d = { kernel_size = 2 } }, "global_avg_pool2d", "flatten", { linear = { out_features = 2, bias = false } }]"#;
    let weights = [
        ("0.weight", &[2, 1, 1, 1][..], vec![1.0, -1.0]),
        ("0.bias", &[2][..], vec![0.0, 0.5]),
        ("5.weight", &[2, 2][..], vec![0.0, 1.0, 1.0, -1.0]),
    ];
    let mut pixels = [0.0; 64];
    for (y, x) in [(6, 6), (6, 7), (7, 6), (7, 7)] {
        pixels[y * 8 + x] = 1.0;
    }
    for device in devices() {
        let (heat, occludes) = heat(&device, layers, &weights, &pixels);
        assert!(!occludes && heat.size == [4, 4], "{}: {heat:?}", device.name());
        assert_eq!((in_the_corner(&heat), heat.map[15]), (1.0, 1.0), "{}: {heat:?}", device.name());
    }
}

#[test]
fn a_network_without_a_feature_map_is_shown_the_picture_in_parts() {
    let layers = r#"layers = ["flatten", { linear = { out_features = 2, bias = false } }]"#;
    let weights = [("1.weight", &[2, 64][..], corner_weights())];
    for device in devices() {
        let (heat, occludes) = heat(&device, layers, &weights, &[0.5; 64]);
        assert!(occludes && heat.size == [8, 8], "{}: {heat:?}", device.name());
        assert_eq!(in_the_corner(&heat), 1.0, "{}: {heat:?}", device.name());
    }
    // Nothing speaks for a class whose weights are all against it.
    let against = corner_weights().into_iter().map(|weight| -weight).collect();
    let (heat, _) = heat(&Device::Cpu, layers, &[("1.weight", &[2, 64], against)], &[0.5; 64]);
    assert!(heat.map.iter().all(|heat| *heat == 0.0), "{heat:?}");
}
