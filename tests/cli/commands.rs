//! `wgrad devices`, `inspect`, and help.

use serde_json::Value;

use crate::files::{TINY, write_tiny};
use crate::{Place, Ran};

#[test]
fn devices_end_with_the_cpu() {
    let place = Place::new();
    let found = place.ok("devices --json").json();
    let rows = found.as_array().unwrap();
    let cpu = rows.last().unwrap();
    assert_eq!((&cpu["device"], &cpu["kind"]), (&Value::from("cpu"), &Value::from("native")));
    for (index, row) in rows[..rows.len() - 1].iter().enumerate() {
        assert_eq!(row["device"], index.to_string());
        assert!(row["max_binding_mib"].as_u64().unwrap() >= 128, "{row}");
    }
    let shown = place.ok("devices").out;
    assert!(rows.iter().all(|row| shown.contains(row["name"].as_str().unwrap())), "{shown}");
    assert!(shown.contains("--device auto takes "), "{shown}");
}

#[test]
fn the_cpu_never_asks_for_an_adapter() {
    let place = Place::new();
    // Vulkan's loader writes a line per layer it finds, once something asks it for an instance.
    let said = |line: &str| {
        let ran = Ran::of(place.command(line).env("VK_LOADER_DEBUG", "all").output());
        assert_eq!(ran.code, Some(0), "wgrad {line}: {ran:?}");
        ran.err.lines().filter(|line| line.starts_with("LAYER:") || line.starts_with("INFO:")).count()
    };
    assert_eq!(said("bench --model seed-cnn --batch-size 4 --steps 2 --device cpu"), 0);
    assert_eq!(said("train --data digits --epochs 1 --device cpu --out run"), 0);
    // Where there is a loader, the test can see it.
    let has_loader = place.ok("devices --json").json().as_array().is_some_and(|found| found.len() > 1);
    assert!(!has_loader || cfg!(not(target_os = "linux")) || said("devices") > 0);
}

#[test]
fn every_model_can_be_inspected() {
    let place = Place::new();
    write_tiny(&place);
    let cases = [
        ("seed-cnn", 13610),
        ("digits-cnn", 0),
        // 6*25+6, 16*150+16, 400*120+120, 120*84+84, 84*10+10
        ("lenet5", 61706),
        ("small-cnn", 0),
        ("mobilenet_v2-cifar", 2_296_922),
        // The parameters of PyTorch's ResNet-18 with a 3x3 stem, no max-pool and 10 classes.
        ("resnet18-cifar", 11_173_962),
        ("resnet50", 25_557_032),
    ];
    for (model, parameters) in cases {
        let found = place.ok(&format!("inspect {model} --batch-size 8 --json")).json();
        let total = found["parameters"].as_u64().unwrap();
        assert!(parameters == 0 || total == parameters, "{model}: {total}");
        let layers = found["layers"].as_array().unwrap();
        let sum: u64 = layers.iter().map(|layer| layer["parameters"].as_u64().unwrap()).sum();
        assert_eq!(sum, total, "{model}");
        let memory = |name: &str| found["memory"][name].as_u64().unwrap();
        assert_eq!(memory("parameters") % 4, 0);
        assert!(
            found["peak_bytes"].as_u64().unwrap() > memory("parameters") + memory("activations"),
            "{model}"
        );
        assert!(found["forward_flops"].as_u64().unwrap() > 2 * total, "{model}");
        assert_eq!((&found["model"], &found["batch_size"]), (&Value::from(model), &Value::from(8)));
    }
}

#[test]
fn inspect_shows_layers_memory_and_the_plan() {
    let place = Place::new();
    write_tiny(&place);
    let shown = place.ok("inspect net.toml --input 1,6,6 --classes 3 --batch-size 5 --plan").out;
    for part in ["conv2d", "batch_norm", "[5, 4, 6, 6]", "155 parameters", "in all", "0 conv2d.forward"] {
        assert!(shown.contains(part), "{part:?} is not in: {shown}");
    }
    place.fails("inspect net.toml", 1, &["net.toml", "images of any size"]);
    place.fails("inspect net.toml --input 1,1,1", 1, &["max_pool2d", "3"]);
    place.fails("inspect net.toml --input 1,6", 2, &["--input", "such as 3,32,32"]);
    place.fails("inspect small_cnn", 1, &["neither built in nor a file", "did you mean \"small-cnn\"?"]);
    place.fails("inspect net.toml --batch-size 0", 2, &["--batch-size"]);
    place.fails("inspect small-cnn --graph net.pdf", 2, &["--graph", "end the name in .svg"]);
}

#[test]
fn a_run_is_a_model_to_look_at() {
    let place = Place::new();
    write_tiny(&place);
    place.ok(&format!("train {TINY} --epochs 1 --out run --quiet"));
    let found = place.ok("inspect run --json --batch-size 5").json();
    assert_eq!((&found["parameters"], &found["model"]), (&Value::from(155), &Value::from("run")));
    assert_eq!(found["layers"][0]["output"], serde_json::json!([5, 4, 6, 6]));
    place.ok("bench --model run --batch-size 2 --steps 1 --inference --device cpu");
    place.fails("inspect .", 1, &[".: is not a run folder", "`wgrad runs DIR` lists"]);
}

#[test]
fn help_and_version_go_to_standard_output() {
    let place = Place::new();
    for line in ["--help", "--version", "train --help", "resume -h", "help eval"] {
        let ran = place.ok(line);
        assert!(ran.err.is_empty() && !ran.out.is_empty(), "{line}: {ran:?}");
    }
    let bare = place.run("");
    assert_eq!(bare.code, Some(2));
    assert!(bare.err.contains("Usage:"), "{bare:?}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::new();
    if cfg!(not(unix)) {
        return;
    }
    write_tiny(&place);
    let training = format!("train {TINY} --epochs 2 --log-every 1");
    let json = format!("{training} --json --out run-json");
    let lines = [
        "inspect resnet18-cifar --plan",
        "--help",
        "train --help",
        &training,
        &json,
        "runs",
        "completions bash",
    ];
    for line in lines {
        for end in ["| head -n 1", "| true", ">&-"] {
            let line = format!("{} {line} {end}", env!("CARGO_BIN_EXE_wgrad"));
            let ran = Ran::of(place.program("sh").args(["-c", &line]).output());
            ran.never_panicked();
            let errors =
                ran.err.lines().any(|line| line.starts_with("error") && !line.contains("already holds"));
            assert!(!errors, "{line}: {ran:?}");
        }
    }
    assert!(place.path("run-json/model.safetensors").is_file(), "training goes on with nobody listening");
}
