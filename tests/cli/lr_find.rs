//! `wgrad lr-find`: a table, a plot, JSON, and nothing left behind.

use serde_json::Value;

use crate::Place;

const FIND: &str = "lr-find --device cpu --optimizer adamw --points 60";

#[test]
fn a_learning_rate_is_found_and_plotted() {
    let place = Place::new();
    let shown = place.ok(&format!("{FIND} --plot lr.svg"));
    assert!(
        shown.out.contains("the loss falls fastest at") && shown.out.contains("learning rate"),
        "{}",
        shown.out
    );
    let plot = std::fs::read_to_string(place.path("lr.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("learning rate"), "{plot}");
    assert!(!place.path("runs").exists());
    let found: Value = serde_json::from_str(&place.ok(&format!("{FIND} --json")).out).unwrap();
    let points = found["points"].as_array().unwrap();
    assert!(!points.is_empty() && points.len() <= 60);
    assert!((points[0]["lr"].as_f64().unwrap() - 1e-6).abs() < 1e-18);
    let suggestion = found["suggestion"].as_f64().unwrap();
    assert!((1e-5..1.0).contains(&suggestion), "{suggestion}");
}

#[test]
fn ranges_that_do_not_rise_are_refused() {
    let place = Place::new();
    for range in ["--from 1 --to 0.1", "--from 0 --to 1", "--from 1 --to inf"] {
        let refused = place.run(&format!("lr-find {range}"));
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.err.contains("they must be above 0 and rise"), "{}", refused.err);
    }
}

#[test]
fn it_starts_from_the_weights_that_a_run_would_start_from() {
    let place = Place::new();
    place.ok("train --device cpu --epochs 2 --quiet --out run");
    let first = |flags: &str| {
        let found = place.ok(&format!("{FIND} --json {flags}")).json();
        found["points"][0]["loss"].as_f64().unwrap()
    };
    let fresh = first("");
    for flag in ["--init", "--pretrained"] {
        let trained = first(&format!("{flag} run/model.safetensors"));
        assert!(trained < 0.7 * fresh, "{flag}: {trained} against {fresh}");
    }
}
