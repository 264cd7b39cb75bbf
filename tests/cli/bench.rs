//! `wgrad bench` on the CPU, and its fields.

use std::path::Path;

use serde_json::Value;

use super::Place;
use super::files::write_pets;

#[test]
fn bench_measures_steps() {
    let place = Place::new();
    let line = "bench --model seed-cnn --batch-size 4 --steps 3 --device cpu";
    let found = place.ok(&format!("{line} --json")).json();
    for name in [
        "ms_per_step",
        "ms_per_step_p10",
        "ms_per_step_p90",
        "ms_per_step_p99",
        "img_per_s",
        "gflop_per_step",
        "gflop_per_s",
        "peak_gflop_per_s",
        "share_of_peak_gflop",
        "peak_gb_per_s",
        "ms_to_first_step",
        "first_step_unix_ms",
    ] {
        assert!(found[name].as_f64().unwrap() > 0.0, "{name}: {found}");
    }
    are_documented(&found);
    assert_eq!((&found["batch_size"], &found["steps"]), (&Value::from(4), &Value::from(3)));
    assert_eq!((&found["optimizer"], &found["precision"]), (&Value::from("sgd"), &Value::from("f32")));
    assert!(found["device_bytes"].is_null() && found["profile"].is_null(), "{found}");
    assert_eq!(found["peak_resident_bytes"].is_u64(), cfg!(target_os = "linux"));
    let shown = place.ok(line).out;
    assert!(shown.contains("ms/step") && shown.contains("img/s") && shown.contains("GFLOP/s"), "{shown}");
    let adam = place.ok(&format!("{line} --json --optimizer adam --warmup 1")).json();
    assert_eq!(adam["optimizer"], "adam");
    place.fails("bench --model nothing --batch-size 4", 1, &["neither built in nor a file"]);
    place.fails("bench --batch-size 4", 2, &["--model"]);
    place.fails(&format!("{line} --trace no/such/folder/trace.json"), 1, &["no/such/folder"]);
}

#[test]
fn bench_measures_predictions() {
    let place = Place::new();
    let line = "bench --model digits-cnn --batch-size 2 --steps 5 --device cpu --inference";
    let found = place.ok(&format!("{line} --profile --json")).json();
    are_documented(&found);
    assert_eq!((&found["mode"], &found["optimizer"]), (&Value::from("inference"), &Value::Null));
    assert!(found["ms_per_step_p99"].as_f64() >= found["ms_per_step"].as_f64(), "{found}");
    let kernels = found["profile"]["kernels"].as_array().unwrap();
    let named = |name: &str| kernels.iter().any(|kernel| kernel["kernel"] == name);
    assert!(named("conv2d.forward") && !named("conv2d.grad_weight") && !named("sgd.update"), "{found}");
    let training = place.ok(&line.replace("--inference", "--json")).json();
    assert_eq!(training["mode"], "training");
    let work = |found: &Value| found["gflop_per_step"].as_f64().unwrap();
    assert!(work(&found) > 0.0 && work(&found) < work(&training) / 2.0, "{found} {training}");
    let unfused = place.ok(&format!("{line} --unfused --profile --json")).json();
    assert!(unfused["profile"]["kernels"].as_array().unwrap().len() > kernels.len(), "{unfused}");
    assert!(place.ok(line).out.contains("digits-cnn on the CPU"), "{}", place.ok(line).out);
    for flag in ["--optimizer adam", "--input-pipeline", "--recompute always"] {
        place.fails(&format!("{line} {flag}"), 2, &["cannot be used with"]);
    }
}

#[test]
fn bench_measures_the_way_of_the_images() {
    let place = Place::new();
    let line = "bench --model seed-cnn --batch-size 4 --steps 3 --device cpu --input-pipeline";
    let found = place.ok(&format!("{line} --json")).json();
    are_documented(&found);
    assert_eq!((&found["data"], &found["batch_size"]), (&Value::from("digits"), &Value::from(4)));
    let rate = |rate: &Value| assert!(rate.as_f64().unwrap() > 0.0, "{found}");
    rate(&found["model_img_per_s"]);
    let inputs = found["inputs"].as_array().unwrap();
    assert_eq!(inputs.iter().map(|input| &input["placement"]).collect::<Vec<_>>(), ["resident", "streamed"]);
    for input in inputs {
        rate(&input["input_img_per_s"]);
        rate(&input["together_img_per_s"]);
        assert!(["input", "model"].contains(&input["bottleneck"].as_str().unwrap()), "{found}");
    }
    let stages = |found: &Value| -> Vec<String> {
        let stages = found["stages"].as_array().unwrap();
        stages.iter().for_each(|stage| rate(&stage["img_per_s"]));
        stages.iter().map(|stage| stage["stage"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(stages(&found), ["augment", "model"]);
    let slowest = |found: &Value| {
        let rate = |stage: &&Value| stage["img_per_s"].as_f64().unwrap();
        let stages = found["stages"].as_array().unwrap().iter();
        let slowest = stages.min_by(|a, b| rate(a).total_cmp(&rate(b))).unwrap();
        assert_eq!(found["bottleneck"], slowest["stage"], "{found}");
    };
    slowest(&found);
    let shown = place.ok(&line.replace("--batch-size 4", "--batch-size 5000"));
    assert!(shown.out.lines().last().unwrap().starts_with("bottleneck: "), "{}", shown.out);
    assert!(shown.err.contains("warning: there are 14"), "{}", shown.err);
    assert!(shown.out.contains("resident") && shown.out.contains("bottleneck"), "{}", shown.out);
    place.fails("bench --model seed-cnn --batch-size 4 --recipe r.toml", 2, &["--input-pipeline"]);
    write_pets(&place);
    place.write("r.toml", "data = \"folder:pets\"\nimage_size = 16\n[augment]\nresized_crop_scale = [0.5, 1.0]\ndegrees = 9.0\n");
    let found = place.ok(&format!("{line} --json --recipe r.toml")).json();
    assert_eq!((&found["data"], &found["model"]), (&Value::from("pets"), &Value::from("seed-cnn")));
    assert!(stages(&found).starts_with(&["augment".to_string()]), "{found}");
    slowest(&found);
    place.fails("bench --model seed-cnn --batch-size 4 --data digits", 2, &["--input-pipeline"]);
    place.fails(&format!("{line} --data mnist:nowhere"), 1, &["nowhere"]);
}

#[test]
fn bench_profiles_each_node() {
    let place = Place::new();
    let line = "bench --model digits-cnn --batch-size 3 --steps 1 --device cpu --profile";
    let found = place.ok(&format!("{line} --json")).json();
    are_documented(&found);
    assert_eq!(found["profile"]["clock"], "host");
    let kernels = found["profile"]["kernels"].as_array().unwrap();
    let named = |name: &str| kernels.iter().filter(|kernel| kernel["kernel"] == name).count();
    assert_eq!((named("conv2d.forward"), named("sgd.update")), (4, 1), "{found}");
    let began: Vec<f64> = kernels.iter().map(|kernel| kernel["began_ms"].as_f64().unwrap()).collect();
    assert!(began.is_sorted(), "{began:?}");
    let shown = place.ok(line).out;
    assert!(shown.contains("conv2d.forward x4") && shown.contains("% of roofline"), "{shown}");
}

/// Programs read these names: each has a line in the table of docs/measurements/README.md, and stays.
pub fn are_documented(found: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/measurements/README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let kernel = found["profile"]["kernels"].get(0);
    let profile = found["profile"].as_object().map(|_| &found["profile"]);
    let objects = [Some(found), profile, kernel, found["inputs"].get(0), found["stages"].get(0)];
    for object in objects.into_iter().flatten() {
        for name in object.as_object().unwrap().keys() {
            let begins = |line: &str| line.starts_with(&format!("| `{name}` |"));
            assert!(text.lines().any(begins), "docs/measurements/README.md has no line for {name}");
        }
    }
}
