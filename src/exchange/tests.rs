//! Networks that leave and come back, and files that are damaged or hostile.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use prost::Message;

use super::import::read;
use super::proto::{ModelProto, StringStringEntryProto};
use super::{Exported, Imported, onnx};
use crate::graph::Mode;
use crate::models::{Model, ModelSpec};
use crate::tensor::{CounterRng, Purpose, unit_f32};
use crate::train::weights::{self, TensorFile, Tensors};
use crate::train::{Device, Predictor, Run, RunModel};

/// Numbers of -1..1, by a name.
fn noise(name: &str, count: usize) -> Vec<f32> {
    let mut rng = CounterRng::new(0, Purpose::Sample, name, 0);
    (0..count).map(|_| 2.0 * unit_f32(rand::Rng::next_u32(&mut rng)) - 1.0).collect()
}

fn network(name: &str, image: [usize; 3]) -> (Model, Tensors, RunModel) {
    filled(ModelSpec::load(name).unwrap().bind(image, 10).unwrap())
}

/// A network with weights of which no statistic is 0 or 1.
fn filled(model: Model) -> (Model, Tensors, RunModel) {
    let image = model.input();
    let (graph, _) = model.graph(Mode::Eval, 1).unwrap();
    let mut tensors = weights::initial(&graph, 0);
    for (name, tensor) in tensors.iter_mut().filter(|(_, tensor)| ![2, 4].contains(&tensor.shape.len())) {
        let noise = noise(name, tensor.data.len());
        tensor.data.iter_mut().zip(noise).for_each(|(value, noise)| *value += 0.3 * noise);
    }
    let about = RunModel {
        image,
        classes: (0..10).map(|class| format!("class {class}")).collect(),
        normalization: None,
        resize: Some(99),
        model: String::new(),
    };
    (model, tensors, about)
}

/// Logits of three images.
fn logits(about: &RunModel, model: &Model, tensors: Tensors) -> Vec<f32> {
    let file = TensorFile { tensors, ..Default::default() };
    let run = Run { path: PathBuf::from("memory") };
    let mut predictor = pollster_free(Predictor::of((about, model, &file), &run, &Device::Cpu, 3));
    pollster_free(predictor.logits(&noise("images", 3 * about.image.iter().product::<usize>())))
}

/// The result of what waits for nothing: the CPU path is done when it is called.
fn pollster_free<T>(future: impl Future<Output = crate::Result<T>>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match Box::pin(future).as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => result.unwrap(),
        std::task::Poll::Pending => panic!("the CPU path waits for nothing"),
    }
}

fn import(bytes: &[u8]) -> Result<Imported, String> {
    read("test.onnx", bytes, Path::new("."))
}

#[test]
fn networks_come_back_with_the_same_logits() {
    let networks = [
        ("digits-cnn", [1, 8, 8]),
        ("mobilenet_v2-cifar", [3, 32, 32]),
        ("mobilenet_v3_small", [3, 64, 64]),
        ("squeezenet1_1", [3, 64, 64]),
        ("efficientnet_b0", [3, 32, 32]),
        ("densenet121", [3, 32, 32]),
        ("convnext_tiny", [3, 32, 32]),
    ];
    for (name, image) in networks {
        let (model, tensors, about) = network(name, image);
        let wanted = logits(&about, &model, tensors.clone());
        for fold in [false, true] {
            let file = onnx(&Exported { model: &model, tensors: &tensors, about: &about }, fold).unwrap();
            let back = import(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((&back.about.classes, back.about.resize), (&about.classes, Some(99)), "{name}");
            if !fold {
                let names =
                    |tensors: &Tensors| tensors.keys().cloned().collect::<std::collections::BTreeSet<_>>();
                assert_eq!(names(&back.weights.tensors), names(&tensors), "{name}");
            }
            let bound = back.spec.bind(image, 10).unwrap();
            let found = logits(&back.about, &bound, back.weights.tensors);
            check_close(&found, &wanted, &format!("{name}, folded {fold}"));
            // The head is that of the classes, so that it can be replaced.
            assert!(!back.spec.head(image).unwrap().is_empty(), "{name}: {}", back.spec.text());
        }
    }
}

#[test]
fn layers_come_back_with_the_same_logits() {
    let conv =
        |arguments: &str| format!("{{ conv2d = {{ out_channels = 8, kernel_size = 3, {arguments} }} }}");
    let layers = [
        conv("stride = 2, padding = [0, 1, 2, 0]"),
        conv("padding = \"same\", dilation = 2, groups = 2") + ", \"silu\"",
        conv("padding = 1, bias = false") + ", { group_norm = { num_groups = 4 } }, \"hardswish\"",
        "{ instance_norm = { affine = true } }, { group_norm = { num_groups = 2, affine = false } }".to_string(),
        "\"channel_bias\", { offset = { value = 0.3 } }, { multiply = { factor = 0.7 } }, \"layer_scale\"".to_string(),
        "\"layer_norm\", { leaky_relu = { negative_slope = 0.2 } }, { elu = { alpha = 0.4 } }".to_string(),
        "{ max_pool2d = { kernel_size = 3, stride = 2, ceil_mode = true } }, { gelu = { approximate = \"tanh\" } }"
            .to_string(),
        "{ avg_pool2d = { kernel_size = 3, stride = 2, padding = 1, count_include_pad = false } }".to_string(),
        "{ avg_pool2d = { kernel_size = 2, ceil_mode = true } }, { softplus = { beta = 2.0 } }".to_string(),
        "{ adaptive_avg_pool2d = { output_size = 3 } }, { adaptive_avg_pool2d = { output_size = [7, 2] } }".to_string(),
        "\"layer_norm2d\", { linear = { out_features = 5, dim = \"channels\" } }, \"hardsigmoid\"".to_string(),
        "\"global_avg_pool2d\", \"flatten\", \"channel_bias\", \"layer_scale\", \"tanh\"".to_string(),
    ];
    for layers in layers {
        let spec: ModelSpec = format!(
            "layers = [{layers}, \"flatten\", {{ name = \"head\", linear = {{ out_features = \"classes\" }} }}]"
        )
        .parse()
        .unwrap();
        let (model, tensors, about) = filled(spec.bind([4, 9, 12], 10).unwrap());
        let wanted = logits(&about, &model, tensors.clone());
        let file = onnx(&Exported { model: &model, tensors: &tensors, about: &about }, false).unwrap();
        let back = import(&file).unwrap_or_else(|error| panic!("{layers}: {error}"));
        let bound = back.spec.bind(about.image, 10).unwrap();
        check_close(&logits(&back.about, &bound, back.weights.tensors), &wanted, &layers);
    }
}

fn check_close(found: &[f32], wanted: &[f32], what: &str) {
    let largest =
        wanted.iter().fold(1.0_f32, |most, value| if value.abs() > most { value.abs() } else { most });
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((found - wanted).abs() <= 1e-4 * largest, "{what}: {found} for {wanted}");
    }
}

/// A small network's file, and what a change makes of it.
fn changed(change: impl FnOnce(&mut ModelProto)) -> String {
    let (model, tensors, about) = network("digits-cnn", [1, 8, 8]);
    let file = onnx(&Exported { model: &model, tensors: &tensors, about: &about }, false).unwrap();
    let mut file = ModelProto::decode(&file[..]).unwrap();
    change(&mut file);
    import(&file.encode_to_vec()).map(|_| String::new()).unwrap_or_else(|error| error)
}

fn check(change: impl FnOnce(&mut super::proto::GraphProto), words: &[&str]) {
    let message = changed(|file| change(file.graph.as_mut().unwrap()));
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

#[test]
fn hostile_files_are_refused_in_one_sentence() {
    check(|graph| graph.initializer[0].dims = vec![1 << 40, 1 << 40], &["2^30 elements"]);
    check(|graph| graph.initializer[0].dims = vec![-1, 3], &["sizes [-1, 3]"]);
    check(|graph| graph.initializer[0].dims = vec![7], &["bytes for 7 elements"]);
    check(|graph| graph.initializer[0].data_type = Some(99), &["type 99"]);
    let external = |location: &str| {
        let entry = StringStringEntryProto { key: Some("location".into()), value: Some(location.into()) };
        move |graph: &mut super::proto::GraphProto| {
            graph.initializer[0].data_location = Some(1);
            graph.initializer[0].external_data = vec![entry];
        }
    };
    for outside in ["../secret", "/etc/passwd", "a/../../b", "..\\b"] {
        check(external(outside), &["outside of the model's folder"]);
    }
    check(external("no-such-file"), &["cannot be read"]);
    let cycle = |graph: &mut super::proto::GraphProto| graph.node[0].input[0] = "logits".into();
    check(cycle, &["Conv", "\"logits\", which nothing before it makes", "cycles"]);
    check(|graph| graph.node[2].op_type = Some("Loop".into()), &["Loop \"/2\"", "does not have"]);
    check(|graph| graph.node[2].domain = Some("com.example".into()), &["com.example"]);
    check(|graph| graph.output.clear(), &["0 outputs"]);
    check(|graph| graph.input.clear(), &["0 inputs"]);
    let negative = |graph: &mut super::proto::GraphProto| {
        graph.node[0]
            .attribute
            .iter_mut()
            .for_each(|attribute| attribute.ints.iter_mut().for_each(|int| *int = -1));
    };
    check(negative, &["Conv", "[-1, -1"]);
    assert!(changed(|file| file.graph = None).contains("has no graph"));
    assert!(changed(|file| file.opset_import.clear()).contains("does not say"));
    assert!(changed(|file| file.opset_import[0].version = Some(900)).contains("900"));
    assert!(import(b"\x08\x07 no model").unwrap_err().contains("ONNX"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_files_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        static FILE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let file = FILE.get_or_init(|| {
            let (model, tensors, about) = network("digits-cnn", [1, 8, 8]);
            let file = onnx(&Exported { model: &model, tensors: &tensors, about: &about }, false).unwrap();
            let mut file = ModelProto::decode(&file[..]).unwrap();
            // Without the weights' bytes, so that most damage is to the structure.
            for tensor in &mut file.graph.as_mut().unwrap().initializer {
                let zeros = vec![0; tensor.raw_data.take().unwrap_or_default().len().min(40)];
                tensor.raw_data = Some(zeros);
                tensor.dims.iter_mut().for_each(|dim| *dim = (*dim).min(3));
            }
            file.encode_to_vec()
        });
        let mut damaged = file.clone();
        let at = at.index(damaged.len());
        if cut { damaged.truncate(at) } else { damaged[at] ^= byte | 1 }
        let _ = import(&damaged);
        let whole = { let mut bytes = onnx_of_digits(); let at = at.min(bytes.len() - 1); bytes[at] ^= byte | 1; bytes };
        let _ = import(&whole);
    }
}

fn onnx_of_digits() -> Vec<u8> {
    static FILE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    FILE.get_or_init(|| {
        let (model, tensors, about) = network("digits-cnn", [1, 8, 8]);
        onnx(&Exported { model: &model, tensors: &tensors, about: &about }, false).unwrap()
    })
    .clone()
}

/// `WGRAD_ONNX` names a folder of `NAME/model.onnx` with `results.safetensors` beside each, as
/// `scripts/torch_onnx.py` writes them.
#[test]
#[ignore = "needs files of other tools: scripts/torch_onnx.py DIR, then WGRAD_ONNX=DIR"]
fn files_of_other_tools_give_their_logits() {
    let folder = std::env::var_os("WGRAD_ONNX").expect("WGRAD_ONNX names a folder");
    let (mut passed, mut refused, mut wrong) = (0, vec![], vec![]);
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for folder in folders.iter().filter(|folder| folder.join("results.safetensors").exists()) {
        let name = folder.file_name().unwrap().to_string_lossy();
        match error_of(folder) {
            Ok(error) => {
                println!("{name}: {error:.1e}");
                if error <= 1e-4 { passed += 1 } else { wrong.push(format!("{name}: {error:.1e}")) }
            }
            Err(why) => {
                println!("{name}: refused: {}", why.rsplit_once("model.onnx").map_or(&*why, |(_, why)| why));
                refused.push(name);
            }
        }
    }
    println!("{passed} passed, {} refused, {} wrong", refused.len(), wrong.len());
    assert!(wrong.is_empty() && passed > 0, "{}", wrong.join("\n"));
}

/// The largest difference from the logits that onnxruntime gave, divided by the largest of them; or why the file is refused.
fn error_of(folder: &Path) -> Result<f64, String> {
    let imported = super::import(&folder.join("model.onnx")).map_err(|error| error.to_string())?;
    let results = TensorFile::read(&folder.join("results.safetensors")).unwrap();
    let (images, wanted) = (&results.tensors["images"], &results.tensors["logits"]);
    let about = &imported.about;
    let model = imported.spec.bind(about.image, about.classes.len()).unwrap();
    let file = TensorFile { tensors: imported.weights.tensors, ..Default::default() };
    let run = Run { path: folder.to_path_buf() };
    let mut predictor = pollster_free(Predictor::of((about, &model, &file), &run, &Device::Cpu, 2));
    let pixels = crate::tensor::Layout::of(&images.shape).to_physical(&images.data);
    let found = pollster_free(predictor.logits(&pixels));
    let most = |most: f32, value: f32| if value > most || value.is_nan() { value } else { most };
    let largest = wanted.data.iter().fold(0.0, |all, value| most(all, value.abs()));
    let pairs = found.iter().zip(&wanted.data);
    assert_eq!(found.len(), wanted.data.len());
    Ok(f64::from(pairs.fold(0.0, |all, (a, b)| most(all, (a - b).abs())) / largest))
}
