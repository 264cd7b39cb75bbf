//! Run folders that are missing, foreign or damaged.

use crate::Place;
use crate::files::{TINY, floats, serialize, write_tiny};

/// A run of six steps with a checkpoint every second one; its recipe then asks for eight.
fn unfinished() -> Place {
    let place = Place::new();
    write_tiny(&place);
    let line = format!("train {TINY} --optimizer adam --checkpoint-every 2 --log-every 1");
    place.ok(&format!("{line} --max-steps 8 --out whole"));
    place.ok(&format!("{line} --max-steps 6 --out run"));
    let recipe = place.text("run/recipe.toml").replace("max_steps = 6", "max_steps = 8");
    place.write("run/recipe.toml", recipe);
    place
}

/// Cuts a file in the middle.
fn cut(place: &Place, name: &str) {
    let bytes = place.read(name);
    place.write(name, &bytes[..bytes.len() / 2]);
}

#[test]
fn layers_named_as_parts_of_a_checkpoint_are_refused() {
    let place = Place::new();
    write_tiny(&place);
    for name in ["ema", "optimizer"] {
        let layers = format!("{{ name = \"{name}\", linear = {{ out_features = \"classes\" }} }}");
        place.write("net.toml", format!("layers = [\"flatten\", {layers}]"));
        place.fails(
            &format!("train {TINY} --epochs 1 --out run"),
            1,
            &[&format!("a tensor \"{name}.weight\""), "name the layer otherwise"],
        );
    }
    place.write(
        "net.toml",
        "layers = [\"flatten\", { name = \"emath\", linear = { out_features = \"classes\" } }]",
    );
    place.ok(&format!("train {TINY} --epochs 1 --ema-decay 0.5 --out run"));
    place.ok("resume run");
}

#[test]
fn what_is_no_run_is_said() {
    let place = Place::new();
    place.write("folder/file.txt", "");
    for command in ["resume", "eval", "predict"] {
        let image = if command == "predict" { " x.png" } else { "" };
        place.fails(
            &format!("{command} nowhere{image}"),
            1,
            &["nowhere: is not a run folder", "`wgrad runs`"],
        );
        place.fails(&format!("{command} folder{image}"), 1, &["folder: is not a run folder", "recipe.toml"]);
        place.fails(
            &format!("{command} folder/file.txt{image}"),
            1,
            &["is not a run folder: it is a file; give the folder"],
        );
    }
    assert_eq!(place.contents("folder").len(), 1);
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let place = unfinished();
    cut(&place, "run/checkpoint.safetensors");
    let ran = place.ok("resume run");
    ran.remarks(&["warning: ", "checkpoint.safetensors", "the checkpoint before it is used"]);
    assert!(ran.out.starts_with("continuing at step 4 of 8"), "{}", ran.out);
    place.same_bits("whole", "run");
}

#[test]
fn a_checkpoint_with_a_flipped_bit_is_damaged() {
    let place = unfinished();
    let mut bytes = place.read("run/checkpoint.safetensors");
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    place.write("run/checkpoint.safetensors", bytes);
    place.ok("resume run").remarks(&["warning: ", "the checkpoint before it is used"]);
    place.same_bits("whole", "run");
}

#[test]
fn two_damaged_checkpoints_are_an_error_that_loses_nothing() {
    let place = unfinished();
    cut(&place, "run/checkpoint.safetensors");
    cut(&place, "run/checkpoint.previous.safetensors");
    let before = place.contents("run");
    place.fails("resume run", 1, &["checkpoint", "is not a whole safetensors file"]);
    assert!(before == place.contents("run"));
    for name in ["checkpoint", "checkpoint.previous"] {
        std::fs::remove_file(place.path(format!("run/{name}.safetensors"))).unwrap();
    }
    place.fails("resume run", 1, &["run: has no checkpoint"]);
    // The model of the last checkpoint is still there.
    place.ok("eval run --device cpu");
}

#[test]
fn foreign_files_in_a_run_are_named() {
    let place = unfinished();
    let foreign = serialize(&[floats("0.weight", &[4, 1, 3, 3], &[0.0; 36])], None);
    let other_model = b"layers = [\"flatten\", { linear = { out_features = 3 } }]";
    place.write("x.png", "");
    for (command, name, content, code, part) in [
        ("resume run", "recipe.toml", &b"lr = "[..], 2, "run/recipe.toml line 1"),
        ("resume run", "recipe.toml", b"\xff\xfe\xfd", 1, "run/recipe.toml"),
        ("resume run", "model.toml", b"layers = [\"relue\"]", 1, "relue"),
        ("resume run", "model.toml", other_model, 1, "checkpoint"),
        ("eval run", "model.safetensors", &foreign, 1, "was it written by wgrad?"),
        ("eval run", "model.safetensors", b"short", 1, "model.safetensors: is not a whole safetensors file"),
        ("predict run x.png", "model.safetensors", b"", 1, "model.safetensors"),
    ] {
        let file = format!("run/{name}");
        let good = place.read(&file);
        place.write(&file, content);
        place.fails(command, code, &[part]);
        place.write(&file, good);
    }
    for name in ["checkpoint", "checkpoint.previous"] {
        place.write(&format!("run/{name}.safetensors"), &foreign);
    }
    place.fails("resume run", 1, &["is not a checkpoint of wgrad"]);
}

/// A checkpoint's place in an epoch means another one under another batch size, seed or data set.
#[test]
fn a_recipe_that_no_longer_fits_the_checkpoint_is_refused() {
    let place = unfinished();
    let recipe = place.text("run/recipe.toml");
    for (from, to) in [("batch_size = 16", "batch_size = 8"), ("seed = 0", "seed = 1")] {
        place.write("run/recipe.toml", recipe.replace(from, to));
        place.fails("resume run", 1, &["run: has a checkpoint of step 6", "recipe.toml"]);
    }
    place.write("run/recipe.toml", recipe.replace("tiny.safetensors", "gone.safetensors"));
    place.fails("resume run", 1, &["gone.safetensors"]);
    // The data's path is recorded as an absolute one.
    let data = recipe.lines().find(|line| line.starts_with("data = ")).unwrap();
    place.write("run/recipe.toml", recipe.replace(data, "data = \"digits\""));
    place.fails("resume run", 1, &[]);
    place.write("run/recipe.toml", recipe);
    place.ok("resume run");
    place.same_bits("whole", "run");
}

#[test]
fn half_a_line_of_metrics_is_cut_away() {
    let place = unfinished();
    let metrics = place.text("run/metrics.jsonl");
    place.write("run/metrics.jsonl", metrics + "{\"step\":7,\"epoch\":3,\"lo");
    place.write("run/.wgrad-abc", "half a file");
    place.ok("resume run");
    place.same_bits("whole", "run");
    assert!(!place.path("run/.wgrad-abc").exists());
    std::fs::remove_file(place.path("run/metrics.jsonl")).unwrap();
    place.ok("resume run");
}
