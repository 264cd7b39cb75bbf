//! Files of a run folder that are cut and overwritten at random: an error or a result, never a panic.

use rand::RngExt;
use wgrad::tensor::{CounterRng, Purpose};

use crate::Place;
use crate::files::{TINY, write_png, write_tiny};

/// Cuts the file or overwrites some bytes, mostly of its header.
fn damage(bytes: &mut Vec<u8>, rng: &mut CounterRng) {
    if bytes.is_empty() {
        return;
    }
    if rng.random_range(0..4) == 0 {
        bytes.truncate(rng.random_range(0..bytes.len()));
        return;
    }
    let reach = if rng.random_bool(0.7) { bytes.len().min(1200) } else { bytes.len() };
    for _ in 0..rng.random_range(1..6) {
        // Digits turn up often, because a changed number is the damage that parsers let through.
        let byte = if rng.random_bool(0.5) { rng.random_range(b'0'..=b'9') } else { rng.random() };
        bytes[rng.random_range(0..reach)] = byte;
    }
}

#[test]
fn damaged_run_folders_never_panic() {
    let place = Place::new();
    write_tiny(&place);
    write_png(&place, "x.png", [6, 6], |x, y| (x * y) as u8);
    place.ok(&format!(
        "train {TINY} --optimizer adam --checkpoint-every 2 --max-steps 4 --log-every 1 --out run"
    ));
    let recipe = place.text("run/recipe.toml").replace("max_steps = 4", "max_steps = 5");
    place.write("run/recipe.toml", recipe);
    let good = place.contents("run");
    let cases = if std::env::var_os("WGRAD_FULL").is_some() { 2000 } else { 60 };
    for case in 0..cases {
        let mut rng = CounterRng::new(0, Purpose::Sample, "damage", case);
        let (name, content) = &good[rng.random_range(0..good.len())];
        let mut bytes = content.clone();
        damage(&mut bytes, &mut rng);
        for (name, content) in &good {
            place.write(&format!("run/{name}"), content);
        }
        place.write(&format!("run/{name}"), bytes);
        let command = match name.as_str() {
            "model.safetensors" => {
                ["eval run --device cpu", "predict run x.png --device cpu"][case as usize % 2]
            }
            _ => "resume run",
        };
        let ran = place.run(command);
        ran.never_panicked();
        assert!(matches!(ran.code, Some(0..=2)), "case {case}, {name}: {ran:?}");
        if ran.code != Some(0) {
            ran.error();
        }
    }
}
