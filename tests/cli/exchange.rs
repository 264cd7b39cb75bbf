//! `wgrad export`, `wgrad import` and ONNX files as models: what leaves comes back, and hostile files are refused.

use std::fs;
use std::sync::LazyLock;

use serde_json::Value;

use crate::Place;
use crate::files::{TINY, write_tiny};

/// A run on `tiny.safetensors`, and what it becomes elsewhere: `run.onnx`.
static EXPORTED: LazyLock<Place> = LazyLock::new(|| {
    let place = Place::new();
    write_tiny(&place);
    place.ok(&format!("train {TINY} --lr 0.1 --epochs 3 --out run"));
    place.ok("export run --format onnx --out run.onnx");
    place
});

/// A place of its own with the run and its file.
fn exported() -> Place {
    let place = Place::new();
    write_tiny(&place);
    place.copy_run(&EXPORTED);
    place.write("run.onnx", EXPORTED.read("run.onnx"));
    place
}

fn loss(place: &Place, run: &str) -> f64 {
    place.ok(&format!("eval {run} --device cpu --json")).json()["test_loss"].as_f64().unwrap()
}

#[test]
fn a_run_leaves_in_every_format() {
    let place = exported();
    let ran = place.ok("export run --format onnx");
    assert!(ran.out.contains("run/exported.onnx"), "{}", ran.out);
    assert_eq!(place.read("run/exported.onnx"), place.read("run.onnx"));
    place.ok("export run --format onnx --fold-batch-norm --out folded.onnx");
    assert!(place.read("folded.onnx").len() < place.read("run.onnx").len());

    place.ok("export run --format safetensors --out weights.safetensors");
    let about: Value = serde_json::from_slice(&place.read("weights.json")).unwrap();
    assert_eq!(
        (&about["classes"], &about["image"]),
        (&serde_json::json!(["0", "1", "2"]), &serde_json::json!([1, 6, 6]))
    );
    assert!(about["model"].as_str().unwrap().contains("batch_norm") && about["mean"].is_array(), "{about}");
    place.ok(&format!("train {TINY} --init weights.safetensors --epochs 1 --out on"));

    let ran = place.ok("export run --format pytorch --out net.py");
    assert!(ran.out.contains("net.py and net.safetensors"), "{}", ran.out);
    let module = place.text("net.py");
    for part in ["MEAN = [", "CLASSES = [\"0\",\"1\",\"2\"]", "class Model(nn.Module)", "net.safetensors"] {
        assert!(module.contains(part), "{part} is not in {module}");
    }
    // One that is not trained needs no run.
    place.ok("export digits-cnn --format onnx --out digits.onnx");
    place.ok("export digits-cnn --format onnx --classes 3 --input 1,12,12 --seed 7 --out other.onnx");
    assert_ne!(place.read("digits.onnx").len(), place.read("other.onnx").len());
}

#[test]
fn bad_exports_are_refused() {
    let place = exported();
    fs::create_dir(place.path("folder")).unwrap();
    fs::create_dir(place.path("empty")).unwrap();
    let check = |line: &str, code: i32, parts: &[&str]| {
        place.fails(&format!("export {line}"), code, parts);
    };
    check("run --format onnx --out none/run.onnx", 1, &["none/run.onnx"]);
    check("run --format onnx --out folder", 1, &["folder"]);
    check("run --format pytorch --fold-batch-norm", 2, &["--fold-batch-norm goes with --format onnx"]);
    check("run --format onnx --init weights.safetensors", 2, &["--init", "a run has weights"]);
    check("run --format onnx --classes 4", 2, &["--classes"]);
    check("run --format onnx --checkpoint 99", 1, &["99"]);
    check("empty --format onnx", 1, &["empty"]);
    check("digits-cnm --format onnx", 1, &["digits-cnm", "digits-cnn"]);
    check("digits-cnn --format onnx --init run/model.safetensors", 1, &["run/model.safetensors"]);
    assert!(place.run("export run --format xml").err.contains("invalid value 'xml'"));
    fs::remove_file(place.path("run/model.safetensors")).unwrap();
    check("run --format onnx", 1, &["has no model.safetensors"]);
    assert!(!place.path("run/exported.onnx").exists());
}

#[test]
fn what_left_comes_back() {
    let place = exported();
    place.ok("export run --format onnx --fold-batch-norm --out folded.onnx");
    let wanted = loss(&place, "run");
    for name in ["run", "folded"] {
        let ran = place.ok(&format!("import {name}.onnx --data tensors:tiny.safetensors --out back-{name}"));
        assert!(ran.out.contains("3 classes"), "{}", ran.out);
        let found = loss(&place, &format!("back-{name}"));
        assert!((found - wanted).abs() < 1e-4, "{name}: {found} for {wanted}");
    }
    // The batch norm is still one, and goes on.
    place.ok("export back-run --format onnx --out again.onnx");
    place.ok("import again.onnx --data tensors:tiny.safetensors --out twice");
    assert!((loss(&place, "twice") - wanted).abs() < 1e-4);
    place.fails("import run.onnx --out twice", 1, &["twice"]);
    place.ok("import run.onnx --data tensors:tiny.safetensors");
    assert!(place.path("runs/run-1/model.toml").exists());
}

#[test]
fn a_file_is_trained_on() {
    let place = exported();
    let wanted = loss(&place, "run");
    // Steps too small to matter: what is tested are the file's own weights.
    let flags = "--data tensors:tiny.safetensors --batch-size 16 --device cpu --epochs 1";
    place.ok(&format!("train --model run.onnx {flags} --lr 1e-12 --momentum 0 --weight-decay 0 --out same"));
    let names = |run: &str| {
        let bytes = place.read(format!("{run}/model.safetensors"));
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let weight = |name: &str| file.tensor(name).unwrap().data().to_vec();
        let mut names: Vec<String> = file.names().into_iter().map(String::from).collect();
        names.sort();
        (names, weight("0.weight"))
    };
    assert_eq!(names("same"), names("run"));
    place.ok(&format!("train --model run.onnx {flags} --lr 0.05 --out on"));
    assert!(loss(&place, "on") < wanted * 1.5 + 0.5);
    place.ok("export on --format onnx --out on.onnx");
    // Another number of classes: a new head, the rest as it was.
    place.ok("export digits-cnn --format onnx --input 1,6,6 --classes 5 --out five.onnx");
    let ran = place.ok(&format!("train --model five.onnx {flags} --out three"));
    assert!(ran.err.contains("note:") || ran.out.contains("head") || ran.err.contains("head"), "{ran:?}");
    place.fails(&format!("train --model none.onnx {flags}"), 1, &["none.onnx"]);
}

/// A field of protobuf that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2], &varint(bytes.len() as u64)[..], bytes].concat()
}

/// A field of protobuf that holds a number.
fn int(number: u8, value: u64) -> Vec<u8> {
    [vec![number << 3], varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// An ONNX file of images [1, 1, 6, 6] `x` and logits `y`: nodes as operator, inputs and output; `weight` is the tensor `w`.
fn onnx(nodes: &[(&str, &[&str], &str)], weight: &[Vec<u8>]) -> Vec<u8> {
    let value = |name: &str, dims: &[u64]| {
        let dims: Vec<u8> = dims.iter().flat_map(|dim| field(1, &int(1, *dim))).collect();
        let tensor = [int(1, 1), field(2, &dims)].concat();
        [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
    };
    let node = |(op, inputs, output): &(&str, &[&str], &str)| {
        let inputs: Vec<u8> = inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
        field(1, &[inputs, field(2, output.as_bytes()), field(4, op.as_bytes())].concat())
    };
    let nodes: Vec<u8> = nodes.iter().flat_map(node).collect();
    let weight = field(5, &[weight.concat(), field(8, b"w")].concat());
    let ends = [field(11, &value("x", &[1, 1, 6, 6])), field(12, &value("y", &[1, 3]))].concat();
    let graph = field(7, &[nodes, weight, ends].concat());
    [int(1, 9), field(8, &int(2, 20)), graph].concat()
}

/// A tensor's sizes and its type, f32.
fn dims(dims: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|dim| int(1, *dim)).collect();
    [dims, int(2, 1)].concat()
}

/// A tensor's data in another file.
fn outside(entries: &[(&str, &str)]) -> Vec<u8> {
    let entry = |(key, value): &(&str, &str)| {
        field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
    };
    [entries.iter().flat_map(entry).collect(), int(14, 1)].concat()
}

const LINEAR: &[(&str, &[&str], &str)] = &[("Flatten", &["x"], "rows"), ("MatMul", &["rows", "w"], "y")];

#[test]
fn weights_may_lie_beside_the_file_but_not_elsewhere() {
    let place = Place::new();
    write_tiny(&place);
    let numbers: Vec<u8> = (0..108_u8).flat_map(|i| (f32::from(i) / 100.0).to_le_bytes()).collect();
    place.write("models/net.data", [vec![0; 16], numbers.clone()].concat());
    place.write("secret.data", &numbers);
    let write = |entries: &[(&str, &str)]| {
        place.write("models/net.onnx", onnx(LINEAR, &[dims(&[36, 3]), outside(entries)]));
    };
    write(&[("location", "net.data"), ("offset", "16"), ("length", "432")]);
    place.ok("import models/net.onnx --data tensors:tiny.safetensors --out inside");
    place.ok("eval inside --device cpu");
    let check = |entries: &[(&str, &str)], parts: &[&str]| {
        write(entries);
        place.fails("import models/net.onnx --out no", 1, &[&["models/net.onnx", "\"w\""], parts].concat());
        assert!(!place.path("no").exists());
    };
    check(&[("location", "../secret.data")], &["outside of the model's folder"]);
    let absolute = place.path("secret.data").display().to_string();
    check(&[("location", &absolute)], &["outside of the model's folder"]);
    check(&[("location", "none.data")], &["none.data", "cannot be read"]);
    check(&[("location", "net.data"), ("length", "99999")], &["99999 bytes"]);
    check(&[("location", "net.data"), ("offset", "many")], &["offset \"many\""]);
    check(&[("location", "net.data"), ("length", "12")], &["12 bytes for 108 elements"]);
    check(&[], &["not named"]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(place.path("secret.data"), place.path("models/link.data")).unwrap();
        check(&[("location", "link.data")], &["outside of the model's folder"]);
    }
}

#[test]
fn hostile_files_are_refused() {
    let place = exported();
    let check = |bytes: &[u8], parts: &[&str]| {
        place.write("bad.onnx", bytes);
        for command in ["import bad.onnx --out no", &format!("train {TINY} --model bad.onnx --out no")] {
            let command = command.replace("--model net.toml ", "");
            place.fails(&command, 1, &[&["bad.onnx"], parts].concat());
            assert!(!place.path("no").exists());
        }
    };
    let whole = place.read("run.onnx");
    for cut in [1, whole.len() / 3, whole.len() - 1] {
        check(&whole[..cut], &[]);
    }
    check(b"", &["does not say"]);
    check(b"no model at all, just text", &["ONNX"]);
    let raw = |count: usize| field(9, &vec![0; 4 * count]);
    check(&onnx(LINEAR, &[dims(&[36, 3]), raw(107)]), &["\"w\"", "428 bytes for 108 elements"]);
    check(&onnx(LINEAR, &[dims(&[1 << 40, 1 << 40]), raw(1)]), &["\"w\"", "2^30 elements"]);
    check(&onnx(LINEAR, &[dims(&[u64::MAX, 3]), raw(1)]), &["\"w\"", "sizes [-1, 3]"]);
    check(&onnx(LINEAR, &[dims(&[3, 36]), raw(108)]), &["MatMul \"y\""]);
    let weight = [dims(&[36, 3]), raw(108)];
    let cycle: &[(&str, &[&str], &str)] = &[
        ("Flatten", &["x"], "rows"),
        ("Add", &["rows", "b"], "a"),
        ("Relu", &["a"], "b"),
        ("MatMul", &["b", "w"], "y"),
    ];
    check(&onnx(cycle, &weight), &["Add \"a\"", "\"b\", which nothing before it makes", "cycles"]);
    let unknown: &[(&str, &[&str], &str)] = &[("Einsum", &["x"], "rows"), ("MatMul", &["rows", "w"], "y")];
    check(&onnx(unknown, &weight), &["Einsum \"rows\"", "does not have"]);
    check(&onnx(&[("Relu", &["x"], "y")], &weight), &["[1, 1, 6, 6]", "a classifier gives [N, classes]"]);
    check(&onnx(&[("Identity", &["w"], "y")], &weight), &["constant"]);
    check(&onnx(&[], &weight), &["\"y\", which no node makes"]);
}

/// A network that has what exported modules write in more than one way.
const SHOWN: &str = r#"
input = [3, 8, 8]
classes = 4
layers = [
  { name = "stem", conv2d = { out_channels = 8, kernel_size = 3, stride = 2, padding = [0, 0, 1, 1], bias = false } },
  { name = "norm", batch_norm = { weight = false } }, "silu",
  { name = "block", residual = { body = [
    { conv2d = { out_channels = 8, kernel_size = 3, padding = 1, groups = 8 } }, "layer_norm2d",
    { linear = { out_features = 8, dim = "channels" } }, { layer_scale = { init_value = 0.5 } },
  ] } },
  { max_pool2d = { kernel_size = 3, stride = 2, padding = 1, ceil_mode = true } },
  { scale = { by = ["global_avg_pool2d", { conv2d = { out_channels = 8, kernel_size = 1 } }, "hardsigmoid"] } },
  { offset = { value = 0.25 } }, "flatten", { dropout = { p = 0.5 } },
  { name = "head", linear = { out_features = "classes" } },
]
"#;

/// `WGRAD_BLESS=1` writes `tests/goldens/exported.py`; PyTorch gave wgrad's logits with it when it was written
/// (`cargo run --release --example exchange -- DIR net.toml`, then `scripts/check_onnx.py DIR`).
#[test]
fn the_exported_module_is_readable_python() {
    let place = Place::new();
    place.write("net.toml", SHOWN);
    place.ok("export net.toml --format pytorch --out net.py");
    let version = format!("wgrad {}", env!("CARGO_PKG_VERSION"));
    let written = place.text("net.py").replacen(&version, "wgrad", 1);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/exported.py");
    if std::env::var_os("WGRAD_BLESS").is_some() {
        fs::write(&path, &written).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, golden, "WGRAD_BLESS=1 writes tests/goldens/exported.py");
}
