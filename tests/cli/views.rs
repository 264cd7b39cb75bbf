//! Test-time augmentation, and running averages in evaluations.

use safetensors::SafeTensors;

use crate::Place;
use crate::files::{TINY, bytes, labels, serialize, stripes, tiny_tensors, write_tiny};

/// The logits `[20, 3]` that `wgrad eval` writes with these flags.
fn logits(place: &Place, flags: &str) -> Vec<f32> {
    place.ok(&format!("eval run --device cpu --logits logits.safetensors {flags}"));
    let file = place.read("logits.safetensors");
    let tensor = SafeTensors::deserialize(&file).unwrap().tensor("logits").unwrap().data().to_vec();
    tensor.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// `NAME.safetensors`, whose test images of 6x6 are `tiny`'s, each pixel taken from the place that `from` says.
fn write_moved(place: &Place, name: &str, from: impl Fn([i32; 2]) -> [i32; 2]) {
    let (images, truth) = stripes(20);
    // Mirrored at the outermost pixel.
    let inside = |at: i32| {
        if at < 0 {
            -at
        } else if at > 5 {
            10 - at
        } else {
            at
        }
    };
    let moved = (0..20 * 36).map(|i| {
        let (image, y, x) = (i / 36, (i % 36 / 6) as i32, (i % 6) as i32);
        let [y, x] = from([y, x]).map(inside);
        images[image * 36 + (y * 6 + x) as usize]
    });
    let mut tensors = tiny_tensors();
    tensors[2] = bytes("test.images", &[20, 1, 6, 6], moved.collect());
    tensors[3] = labels("test.labels", &truth);
    place.write(&format!("{name}.safetensors"), serialize(&tensors, None));
}

#[test]
fn views_are_averaged_as_by_hand() {
    let place = Place::new();
    write_tiny(&place);
    place.ok(&format!("train {TINY} --lr 0.1 --epochs 2 --out run"));
    let moves: [(&str, i32, bool); 5] = [
        ("flip", 0, true),
        ("up", -1, false),
        ("upflip", -1, true),
        ("down", 1, false),
        ("downflip", 1, true),
    ];
    for (name, shift, flip) in moves {
        write_moved(&place, name, |[y, x]| [y + shift, if flip { 5 - x } else { x } + shift]);
    }
    let plain = logits(&place, "");
    let of = |name: &str| logits(&place, &format!("--data tensors:{name}.safetensors"));
    let moved: Vec<Vec<f32>> = moves.iter().map(|(name, ..)| of(name)).collect();
    let check = |views: &str, weights: &[f32]| {
        let got = logits(&place, &format!("--tta {views}"));
        for i in 0..got.len() {
            let all = [&plain].into_iter().chain(&moved);
            let wanted: f32 = all.zip(weights).map(|(logits, weight)| weight * logits[i]).sum();
            assert!((got[i] - wanted).abs() < 1e-5, "{views} {i}: {} and {wanted}", got[i]);
        }
        assert!(
            got.iter().zip(&plain).any(|(got, plain)| (got - plain).abs() > 1e-3),
            "{views} does nothing"
        );
    };
    check("flip", &[0.5, 0.5]);
    check("translate", &[0.5, 0.0, 0.25, 0.0, 0.25, 0.0]);
    check("flip-translate", &[0.25, 0.25, 0.125, 0.125, 0.125, 0.125]);
    assert_eq!(logits(&place, "--tta none"), plain);
    place.fails("eval run --tta rotate", 2, &["rotate"]);
}

#[test]
fn a_run_averages_views_once_it_has_ended() {
    let place = Place::new();
    write_tiny(&place);
    let train = |flags: &str| place.ok(&format!("train {TINY} --lr 0.1 --epochs 3 {flags}"));
    let said = train("--tta flip --out run").out;
    assert!(said.contains("by the mean of each image's views (--tta flip)"), "{said}");
    assert!(place.text("run/report.html").contains("(--tta flip)"));
    let ended = train("--tta flip --out json --json").out;
    train("--out plain");
    // While it goes on, a run is watched and judged by the images as they are.
    assert_eq!(place.read("run/model.safetensors"), place.read("plain/model.safetensors"));
    let losses = |run: &str| -> Vec<serde_json::Value> {
        place.metrics(run).iter().filter_map(|line| line.get("test_loss").cloned()).collect()
    };
    assert_eq!(losses("run"), losses("plain"));
    let loss =
        |flags: &str| place.ok(&format!("eval run --device cpu --json {flags}")).json()["test_loss"].clone();
    assert_eq!(Some(&loss("--tta none")), losses("run").last());
    assert_ne!(loss(""), loss("--tta none"));
    let of_views = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["test_loss"].clone();
    assert_eq!(ended.lines().last().map(of_views), Some(loss("")));
    // Whoever resumes a run that has ended is told the same.
    let accuracy =
        |said: &str| said.lines().find(|line| line.starts_with("test accuracy")).map(str::to_string);
    assert_eq!(accuracy(&place.ok("resume run").out), accuracy(&said));
}

#[test]
fn running_averages_are_judged_kept_and_tested() {
    let place = Place::new();
    write_tiny(&place);
    let flags = "--lr 0.1 --epochs 4 --eval-every 2 --ema-decay 0.8 --monitor ema_test_loss";
    place.ok(&format!("train {TINY} {flags} --out run"));
    let lines: Vec<_> =
        place.metrics("run").into_iter().filter(|line| line.get("test_loss").is_some()).collect();
    let losses: Vec<f64> = lines.iter().map(|line| line["ema"]["test_loss"].as_f64().unwrap()).collect();
    // Steps 2, 3, 4, 6, 8, 9, 10, 12 of epochs of 3 steps.
    assert_eq!(losses.len(), 8);
    let eval = |flags: &str| place.ok(&format!("eval run --device cpu --json {flags}")).json();
    let last = lines.last().unwrap();
    assert_eq!(eval("--ema")["test_loss"], last["ema"]["test_loss"]);
    assert_eq!(eval("")["test_loss"], last["test_loss"]);
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(eval("--ema --checkpoint best")["test_loss"].as_f64(), Some(best));

    place.ok(&format!("train {TINY} --epochs 1 --out plain"));
    for command in ["eval plain", "export plain --format onnx", "serve plain --addr 127.0.0.1:0"] {
        place.fails(&format!("{command} --ema"), 1, &["keeps no running averages", "--ema-decay"]);
    }
    place.fails(
        &format!("train {TINY} --monitor ema_test_accuracy --out no"),
        2,
        &["--monitor ema_test_accuracy", "--ema-decay"],
    );
}
