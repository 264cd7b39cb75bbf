//! The same on a GPU, a software one included.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::files::write_tiny;
use crate::{Place, Ran};

const TINY: &str =
    "--data tensors:tiny.safetensors --model net.toml --batch-size 16 --device gpu --optimizer adamw";

pub static HAS_ADAPTER: LazyLock<bool> = LazyLock::new(|| {
    let found = Place::new().ok("devices --json").json();
    let has = found.as_array().unwrap().len() > 1;
    let required = std::env::var_os("WGRAD_REQUIRE_GPU").is_some();
    assert!(has || !required, "WGRAD_REQUIRE_GPU is set, but there is no adapter");
    if !has {
        eprintln!("SKIPPED: this machine has no adapter; GPU runs of the command line were not tested");
    }
    has
});

#[test]
fn a_killed_run_on_a_gpu_continues_to_the_same_bits() {
    if !*HAS_ADAPTER {
        return;
    }
    let place = Place::new();
    write_tiny(&place);
    let line = format!("train {TINY} --epochs 12 --checkpoint-every 2 --log-every 1");
    let ran = place.ok(&format!("{line} --out whole"));
    assert!(ran.out.contains("MiB on it"), "{}", ran.out);
    let mut child = place.start(&format!("{line} --out killed"));
    let metrics = place.path("killed/metrics.jsonl");
    let since = Instant::now();
    while std::fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 9 {
        assert!(child.try_wait().unwrap().is_none() && since.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let resumed = place.ok("resume killed");
    assert!(resumed.out.starts_with("continuing at step "), "{}", resumed.out);
    place.same_bits("whole", "killed");

    // Both devices see the same images in the same order: they agree on what was learned.
    let result =
        |ran: &Ran| ran.out.lines().find(|line| line.starts_with("test accuracy")).map(str::to_string);
    let [gpu, cpu] = ["gpu", "cpu"].map(|device| place.ok(&format!("eval whole --device {device}")));
    let accuracy = |ran: &Ran| result(ran).unwrap().split(',').next().unwrap().to_string();
    assert_eq!(result(&ran), result(&gpu));
    assert_eq!(accuracy(&gpu), accuracy(&cpu));
    // The run knows where it was made.
    let moved = place.text("killed/recipe.toml").replace("device = \"gpu\"", "device = \"cpu\"");
    place.write("killed/recipe.toml", moved);
    place.ok("resume killed").remarks(&["warning: the device was", "and is \"cpu\""]);
}

#[test]
fn a_loss_that_explodes_on_a_gpu_keeps_the_checkpoint() {
    if !*HAS_ADAPTER {
        return;
    }
    let place = Place::new();
    write_tiny(&place);
    place.fails(&format!("train {TINY} --epochs 2 --lr 1e30 --out a"), 1, &["the loss became"]);
    crate::not_finite::check_finite(&place.read("a/checkpoint.safetensors"));
}

#[test]
fn devices_are_chosen_by_index_and_name() {
    if !*HAS_ADAPTER {
        return;
    }
    let place = Place::new();
    let found = place.ok("devices --json").json();
    let name = found[0]["name"].as_str().unwrap().split_whitespace().next().unwrap().to_uppercase();
    for device in ["0", name.as_str()] {
        let ran =
            place.ok(&format!("bench --model seed-cnn --batch-size 2 --steps 1 --json --device {device}"));
        assert_eq!(ran.json()["device"], found[0]["name"]);
    }
    place.fails(
        "bench --model seed-cnn --batch-size 2 --device 99",
        1,
        &["no device \"99\"; there are: cpu, 0 ("],
    );
    place.fails("bench --model seed-cnn --batch-size 2 --device abacus", 1, &["no device \"abacus\""]);
}

#[test]
fn bench_profiles_each_kernel() {
    if !*HAS_ADAPTER {
        return;
    }
    let place = Place::new();
    let line = "bench --model seed-cnn --batch-size 2 --steps 2 --device gpu --profile --trace trace.json";
    let found = place.ok(&format!("{line} --json")).json();
    for name in
        ["device_bytes", "predicted_bytes", "host_ms_per_step", "gb_per_step", "gb_per_s", "share_of_peak_gb"]
    {
        assert!(found[name].as_f64().unwrap() > 0.0, "{name}: {found}");
    }
    super::bench::are_documented(&found);
    let kernels = found["profile"]["kernels"].as_array().unwrap();
    let of = |label: &str| kernels.iter().find(|found| found["label"] == label).unwrap();
    // 2 images of 26 x 26 pixels and 8 channels, from windows of 3 x 3.
    assert_eq!(of("0 conv2d.forward")["flops"], 2 * 2 * 26 * 26 * 8 * 9);
    assert_eq!(
        of("0 conv2d.forward")["bytes"].as_u64().unwrap() / 4,
        2 * 28 * 28 + 8 * 9 + 2 * 26 * 26 * 8 + 8
    );
    let share: f64 = kernels.iter().map(|kernel| kernel["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-6, "{share}");
    let trace: serde_json::Value = serde_json::from_slice(&place.read("trace.json")).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events.len(), kernels.len() + 1);
    assert!(
        events.iter().all(|event| event["ts"].as_f64() >= Some(0.0) && event["dur"].as_f64() >= Some(0.0))
    );
    let shown = place.ok(line).out;
    for part in ["conv2d.forward", "% of roofline", "GB/s", "trace: trace.json", "per step the host"] {
        assert!(shown.contains(part), "{part:?} is not in: {shown}");
    }
}

/// `tests/parity.rs` compares every sample; this is the command around it.
#[test]
fn selftest_passes() {
    if !*HAS_ADAPTER {
        return;
    }
    let place = Place::new();
    let found = place.ok("selftest --device gpu --json").json();
    let rows = found.as_array().unwrap();
    assert!(
        rows.len() > 30 && rows.iter().all(|row| row["failures"].as_array().unwrap().is_empty()),
        "{found}"
    );
}

#[test]
fn without_an_adapter_the_cpu_is_taken_or_an_error_says_what_to_do() {
    let place = Place::new();
    write_tiny(&place);
    let run = |line: &str| {
        let mut command = place.command(line);
        let nowhere = place.path("no-driver.json");
        command.env("VK_DRIVER_FILES", &nowhere).env("VK_ICD_FILENAMES", &nowhere);
        Ran::of(command.output())
    };
    if run("devices --json").json().as_array().unwrap().len() > 1 {
        eprintln!("SKIPPED: there is an adapter without Vulkan; its absence was not tested");
        return;
    }
    for line in ["train --device gpu", "train --device 0", "train --device llvmpipe", "selftest"] {
        let ran = run(line);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.says(&["no GPU adapter was found", "install a Vulkan driver", "--device cpu"]);
    }
    let auto = run("train --data tensors:tiny.safetensors --model net.toml --max-steps 1 --batch-size 16");
    assert_eq!(auto.code, Some(0), "{auto:?}");
    assert!(auto.out.starts_with("device  the CPU ("), "{}", auto.out);
}

#[test]
fn compiled_kernels_are_kept_and_damaged_files_passed_over() {
    if !*HAS_ADAPTER {
        return;
    }
    let place = Place::new();
    write_tiny(&place);
    let bench = || {
        let mut command =
            place.command("bench --model net.toml --batch-size 2 --device gpu --steps 1 --input 1,8,8");
        let ran = Ran::of(command.env("WGRAD_CACHE", place.path("cache")).output());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran
    };
    assert_eq!(bench().err, "");
    let kept: Vec<_> = std::fs::read_dir(place.path("cache"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    // Only Vulkan has such caches.
    for path in &kept {
        assert_eq!(bench().err, "", "what was kept fits");
        let whole = std::fs::read(path).unwrap();
        std::fs::write(path, &whole[..whole.len() - 1]).unwrap();
        assert!(bench().err.contains("is damaged; kernels are compiled anew"), "{:?}", bench().err);
        assert_eq!(bench().err, "", "it was replaced");
    }
    println!("{} files kept", kept.len());
}

/// No driver here has cooperative matrices of f16; a run that wants them says so, and is the run without them.
#[test]
fn cooperative_matrices_are_proved_before_they_are_used() {
    if !*HAS_ADAPTER {
        return;
    }
    let place = Place::new();
    write_tiny(&place);
    let devices = place.ok("devices --json").json();
    let offered = devices.as_array().unwrap().iter().any(|device| device["cooperative"].is_string());
    if !offered {
        let ran = place.ok(&format!("train {TINY} --epochs 1 --cooperative --out f32"));
        ran.remarks(&["note: cooperative matrices are not used: they are of f16"]);
        place.ok(&format!("train {TINY} --epochs 1 --precision f16 --out without"));
        let ran = place.ok(&format!("train {TINY} --epochs 1 --precision f16 --cooperative --out with"));
        ran.remarks(&["note: cooperative matrices are not used", "offers none"]);
        assert!(
            place.read("with/model.safetensors") == place.read("without/model.safetensors"),
            "other bits"
        );
        let line = "prove-cooperative --device 0 --size 16 --subgroup 32";
        place.fails(line, 1, &["does not offer 16 x 16, subgroups of 32, through memory"]);
    }
    // The proof itself, of what every adapter can emulate.
    let proof = place.ok("prove-cooperative --device 0 --size 4 --subgroup 1 --staged");
    assert_eq!(proof.out, "proved\n");
}
