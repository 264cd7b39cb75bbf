//! `wgrad tune`: kernels are tried, compared, kept and carried to other machines.

use serde_json::Value;

use crate::gpu::HAS_ADAPTER;
use crate::{Place, Ran};

const LINE: &str = "tune --model seed-cnn --batch-size 2 --device gpu --json";

/// Runs with a folder for what is kept.
fn run(place: &Place, line: &str) -> Ran {
    Ran::of(place.command(line).env("WGRAD_CACHE", place.path("cache")).output())
}

fn verdicts(ran: &Ran) -> Vec<Value> {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.json().as_array().unwrap().clone()
}

#[test]
fn kernels_are_tried_compared_kept_and_carried() {
    if !*HAS_ADAPTER {
        return;
    }
    let place = Place::new();
    let found = verdicts(&run(&place, &format!("{LINE} --export table.json")));
    assert!(!found.is_empty());
    for verdict in &found {
        let tried = verdict["tried"].as_array().unwrap();
        assert!(tried.len() > 1, "{verdict}");
        for tried in tried {
            assert!(tried["refused"].is_null() && tried["ms"].as_f64().unwrap() > 0.0, "{verdict}");
        }
        assert!(tried.iter().any(|tried| tried["configuration"] == verdict["chosen"]), "{verdict}");
    }
    let table: Value = serde_json::from_str(&place.text("table.json")).unwrap();
    assert_eq!(table["choices"].as_object().unwrap().len(), found.len());
    let thorough = |choice: &Value| choice["thorough"] == true && choice["exact"] == true;
    assert!(table["choices"].as_object().unwrap().values().all(thorough), "{table}");

    // Nothing is left to try, with what was kept or with what is imported; unless it is asked for again.
    assert_eq!(verdicts(&run(&place, LINE)).len(), 0);
    assert_eq!(verdicts(&place.ok(&format!("{LINE} --import table.json"))).len(), 0);
    assert_eq!(verdicts(&run(&place, &format!("{LINE} --again"))).len(), found.len());
}

#[test]
fn tables_of_other_devices_and_damaged_ones_are_refused() {
    if !*HAS_ADAPTER {
        return;
    }
    let place = Place::new();
    verdicts(&run(&place, &format!("{LINE} --export table.json")));
    let other = place.text("table.json").replace("\"driver\": \"", "\"driver\": \"other ");
    place.write("other.json", other);
    place.fails(
        &format!("{LINE} --import other.json"),
        1,
        &["was tuned for the driver other", "run wgrad tune"],
    );
    place.write("damaged.json", "{");
    place.fails(
        &format!("{LINE} --import damaged.json"),
        1,
        &["damaged.json", "is not a table of tuned kernels"],
    );
    place.fails("tune --device gpu", 2, &["--model", "--import"]);
    place.fails("tune --model seed-cnn --device cpu", 2, &["only GPUs are tuned"]);

    // A kept table that is damaged is said so, and the run goes on without it.
    let kept = std::fs::read_dir(place.path("cache")).unwrap().filter_map(Result::ok);
    let kept =
        kept.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("tuning-")).unwrap();
    std::fs::write(&kept, "nonsense").unwrap();
    let ran = run(&place, "bench --model seed-cnn --batch-size 2 --steps 1 --device gpu");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("is damaged; kernels are tuned anew"), "{}", ran.err);
}
