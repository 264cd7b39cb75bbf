//! `report.html`, `wgrad report`, `runs` and `compare`, also of damaged runs.

use std::path::Path;
use std::time::{Duration, Instant};

use wgrad::report::tensorboard::proto::{Kind, What};
use wgrad::report::tensorboard::read_events;

use crate::files::{TINY, write_tiny};
use crate::{Place, Ran};

/// A run of three epochs.
fn trained() -> Place {
    let place = Place::new();
    write_tiny(&place);
    place.ok(&format!("train {TINY} --epochs 3 --log-every 1 --out run"));
    place
}

/// What a page must not have: it is all there is, and nobody's text becomes markup.
fn check_page(page: &str) {
    for foreign in ["http://", "https://", "<script", "src=\"/", "url(", "@import", "<iframe"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
}

#[test]
fn every_run_has_a_page() {
    let place = trained();
    let page = place.text("run/report.html");
    check_page(&page);
    // The template engine escapes slashes too.
    let page = page.replace("&#x2f;", "/");
    for part in [
        "<figcaption>Loss",
        "<path class=\"curve",
        "Confusion matrix",
        "precision",
        "Filters of the first layer",
        "data:image/png;base64,",
        "conv2d.forward",
        "Memory plan",
        "activations",
        "wgrad train run/recipe.toml --out run-again",
        "batch_size = 16",
        "training: ",
    ] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
    let table = place.text("run/metrics.csv");
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("kind,step,epoch,loss,lr,"), "{table}");
    assert_eq!(lines.clone().filter(|line| line.starts_with("epoch,")).count(), 3);
    assert!(lines.next().unwrap().starts_with("step,1,1.0,"), "{table}");
    // Made again it says the same, up to speeds.
    let before = place.read("run/report.html").len();
    place.ok("report run --device cpu");
    let again = place.text("run/report.html");
    assert!(again.len().abs_diff(before) < 2000, "{before} and {}", again.len());
    place.ok("report run --device cpu --out other.html --data tensors:tiny.safetensors");
    check_page(&place.text("other.html"));
    place.fails("report run --out nowhere/page.html --device cpu", 1, &["cannot write nowhere/page.html"]);
    place.fails("report run --data digits --device cpu", 1, &["images of", "the run's model takes"]);
}

#[test]
fn names_of_folders_are_escaped() {
    let place = Place::new();
    let names = ["<script>alert(1)<", "b&b\"'", "{{ 7*7 }}"];
    for (class, name) in names.into_iter().enumerate() {
        for sample in 0..12u8 {
            let shade = |x: u32, y: u32| {
                image::Luma([(x * 31 + y * 17) as u8 ^ sample.wrapping_mul(97) ^ class as u8])
            };
            let path = place.path(format!("data/{name}/{sample}.png"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::GrayImage::from_fn(12, 12, shade).save(path).unwrap();
        }
    }
    write_tiny(&place);
    place.ok("train --data folder:data --model net.toml --batch-size 8 --epochs 1 --device cpu --out run");
    let page = place.text("run/report.html");
    check_page(&page);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;") && page.contains("b&amp;b&quot;&#x27;"), "escaped");
    assert!(page.contains("{{ 7*7 }}") && page.contains("Most confident mistakes"));
}

#[test]
fn long_runs_have_short_pages() {
    let place = trained();
    let mut lines = String::new();
    for epoch in 1..=100 {
        for step in 1..=100 {
            let number = (epoch - 1) * 100 + step;
            lines.push_str(&format!(
                "{{\"step\":{number},\"epoch\":{epoch},\"loss\":{},\"lr\":0.1,\"grad_norm\":null,\"img_per_s\":1e4}}\n",
                2.5 / f64::from(number)
            ));
        }
        lines.push_str(&format!(
            "{{\"epoch\":{epoch},\"train_loss\":{0},\"train_accuracy\":0.5,\"test_loss\":{0},\"test_accuracy\":0.5}}\n",
            1.0 / f64::from(epoch)
        ));
    }
    place.write("run/metrics.jsonl", lines);
    place.ok("report run --device cpu");
    let page = place.text("run/report.html");
    assert!(page.len() < 300_000, "{} bytes", page.len());
    assert!(!page.contains("NaN") && !page.contains("inf "), "numbers that are none");
}

#[test]
fn a_run_that_was_stopped_has_a_page() {
    let place = Place::new();
    write_tiny(&place);
    place.ok(&format!("train {TINY} --epochs 500 --max-time 1s --out run"));
    assert!(place.text("run/report.html").contains("Confusion matrix"));
}

#[test]
fn damaged_runs_are_reported_and_listed() {
    let place = trained();
    for copy in ["a-10", "a-9", "cut", "bare"] {
        place.copy("run", &format!("runs/{copy}"));
    }
    let text = place.text("run/metrics.jsonl");
    place.write("runs/cut/metrics.jsonl", &text[..text.len() - 40]);
    std::fs::remove_file(place.path("runs/bare/metrics.jsonl")).unwrap();
    place.copy("run", "runs/lost");
    std::fs::remove_file(place.path("runs/lost/recipe.toml")).unwrap();
    place.copy("run", "runs/odd");
    place.write("runs/odd/recipe.toml", "model = \"x\"\nlr = [");
    let ran = place.ok("runs --sort name");
    ran.remarks(&["warning: runs/cut/metrics.jsonl line", "is damaged and passed over"]);
    ran.remarks(&["warning: cannot read runs/bare/metrics.jsonl"]);
    ran.remarks(&["warning: runs/lost", "no recipe.toml"]);
    ran.remarks(&["warning: runs/odd/recipe.toml"]);
    let place_of = |name: &str| ran.out.find(name).unwrap_or_else(|| panic!("{name}: {}", ran.out));
    assert!(place_of("runs/a-9") < place_of("runs/a-10") && place_of("runs/a-10") < place_of("runs/bare"));
    let rows = place.ok("runs runs --sort accuracy --json").json();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 5, "{rows:?}");
    assert!(rows[4]["run"] == "runs/bare" && rows[4]["epochs"].is_null() && rows[4]["damaged"] == true);
    // A page of what is left of them.
    let before = place.contents("runs/cut");
    place.ok("report runs/cut --device cpu --out cut.html").remarks(&["is damaged and passed over"]);
    assert!(place.text("cut.html").contains("is damaged and passed over"));
    assert!(before == place.contents("runs/cut"), "nothing is lost");
    place
        .ok("report runs/bare --device cpu --out bare.html")
        .remarks(&["cannot read runs/bare/metrics.jsonl"]);
    // The pictures may be gone, the filters are still there.
    place.copy("run", "moved");
    place.write(
        "moved/recipe.toml",
        place.text("run/recipe.toml").replace("tiny.safetensors", "gone.safetensors"),
    );
    place
        .ok("report moved --device cpu --out moved.html")
        .remarks(&["without an evaluation, because", "gone"]);
    assert!(place.text("moved.html").contains("Filters of the first layer"));
    place.write("runs/odd/model.safetensors", b"short");
    place.ok("report runs/odd --device cpu --out odd.html").remarks(&["without an evaluation, because"]);
    check_page(&place.text("odd.html"));
    for command in ["report", "compare"] {
        place.fails(&format!("{command} nowhere"), 1, &["nowhere: is not a run folder"]);
    }
    place.fails("runs nowhere", 1, &["nowhere: is no folder"]);
    place.write("empty/file", "");
    assert!(place.ok("runs empty").out.contains("no runs in empty"));
}

#[test]
fn runs_are_compared() {
    let place = trained();
    place.ok(&format!("train {TINY} --epochs 2 --lr 0.01 --out other"));
    let ran = place.ok("compare run other --out both.html");
    for part in ["lr", "0.01", "epochs", "best accuracy", "page written to both.html"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let found = place.ok("compare run other --json").json();
    let settings = found["settings"].as_array().unwrap();
    assert!(settings.iter().any(|row| row["name"] == "lr" && row["values"][1] == "0.01"), "{found}");
    assert!(settings.iter().all(|row| row["name"] != "model" && row["name"] != "out"), "{found}");
    let page = place.text("both.html");
    check_page(&page);
    assert!(page.contains("Test accuracy") && page.contains("class=\"k1\""), "two curves");
    assert!(place.ok("compare run run").out.contains("the recipes are the same"));
}

/// All scalars of a run's event files as (name, step, value), in the order of the files.
fn scalars(place: &Place, run: &str) -> Vec<(String, i64, f32)> {
    let mut found = vec![];
    for (name, bytes) in place.contents(run).into_iter().filter(|(name, _)| name.contains("tfevents")) {
        let events = read_events(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(events[0].what, Some(What::FileVersion("brain.Event:2".to_string())));
        for event in events {
            let Some(What::Summary(summary)) = event.what else { continue };
            for value in summary.value {
                if let Some(Kind::SimpleValue(number)) = value.value {
                    found.push((value.tag, event.step, number));
                }
            }
        }
    }
    found
}

#[test]
fn tensorboard_is_told_what_metrics_say() {
    let place = Place::new();
    write_tiny(&place);
    place.ok(&format!("train {TINY} --epochs 2 --log-every 1 --tensorboard --out run"));
    let live = scalars(&place, "run");
    let lines = place.metrics("run");
    for line in lines.iter().filter(|line| line.get("lr").is_some()) {
        let step = line["step"].as_i64().unwrap();
        let loss = line["loss"].as_f64().unwrap() as f32;
        assert!(live.contains(&("loss/step".to_string(), step, loss)), "{line}");
    }
    let tested = live.iter().filter(|(name, ..)| name == "accuracy/test").count();
    assert_eq!(tested, 2);
    // A run that was not told to is converted, to the same numbers.
    let recipe = place.text("run/recipe.toml").replace("tensorboard = true", "tensorboard = false");
    place.copy("run", "plain");
    place.write("plain/recipe.toml", recipe);
    for (name, _) in place.contents("plain").into_iter().filter(|(name, _)| name.contains("tfevents")) {
        std::fs::remove_file(place.path("plain").join(name)).unwrap();
    }
    assert!(
        place.ok("report plain --tensorboard").out.contains("events written to plain/events.out.tfevents.")
    );
    let converted = scalars(&place, "plain");
    let sorted = |rows: &[(String, i64, f32)]| {
        let mut rows: Vec<String> =
            rows.iter().filter(|row| row.0 != "epoch").map(|row| format!("{row:?}")).collect();
        rows.sort();
        rows
    };
    assert_eq!(sorted(&live), sorted(&converted));
}

#[test]
fn progress_is_json_where_that_is_asked_for() {
    let place = Place::new();
    write_tiny(&place);
    let ran = place.ok(&format!("train {TINY} --epochs 2 --log-every 1 --json --out run"));
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, metrics) = lines.split_last().unwrap();
    let written: Vec<serde_json::Value> =
        place.text("run/metrics.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(metrics, written);
    assert!(last["confusion"].is_array() && last["test_accuracy"].is_number(), "{last}");
    assert!(ran.err.is_empty(), "{}", ran.err);
}

#[test]
fn networks_are_drawn() {
    let place = Place::new();
    write_tiny(&place);
    place.ok("inspect resnet18-cifar --graph net.svg");
    let drawing = place.text("net.svg");
    for part in
        ["layer1.0.conv1", "conv2d", "512 x 4 x 4", "2,359,296 parameters", "marker-end", "class=\"join\""]
    {
        assert!(drawing.contains(part), "{part}");
    }
    let names = drawing.matches("http").count();
    assert_eq!(names, 1, "only the name of SVG itself");
    place.fails("inspect resnet18-cifar --graph no/net.svg", 1, &["cannot write no/net.svg"]);
}

/// Opens a page in Chromium without a screen; nothing if there is no Chromium.
fn open(place: &Place, page: &str) -> Option<(Ran, Duration)> {
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        std::process::Command::new(name).arg("--version").output().is_ok_and(|ran| ran.status.success())
    });
    let Some(program) = found else {
        eprintln!("SKIPPED: there is no Chromium; pages are not opened");
        return None;
    };
    let address = format!("file://{}", place.path(page).display());
    let begun = Instant::now();
    let ran = place
        .program(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"])
        .args(["--window-size=390,844", "--force-dark-mode", "--dump-dom"])
        .arg(format!("--user-data-dir={}", place.path("chromium").display()))
        .arg(address)
        .output();
    Some((Ran::of(ran), begun.elapsed()))
}

#[test]
fn chromium_opens_the_page_without_complaint() {
    let place = trained();
    let Some((ran, time)) = open(&place, "run/report.html") else { return };
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("<svg viewBox") && ran.out.contains("Memory plan"), "the page is whole");
    // Chromium's own trouble with a machine without a desktop is none of the page's.
    let complaints: Vec<&str> = ran.err.lines().filter(|line| line.contains(":CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    assert!(Path::new(&place.path("run/report.html")).exists() && time < Duration::from_secs(60));
}
