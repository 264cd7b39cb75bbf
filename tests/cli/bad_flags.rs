//! Bad flags, recipes and models: one line that says what to give instead; exit code 2 for values.

use crate::Place;
use crate::files::{TINY, write_tiny};

#[test]
fn bad_flags_are_explained() {
    let place = Place::new();
    let cases: &[(&str, &[&str])] = &[
        ("--sede 1", &["--sede", "--seed"]),
        ("--epochs 3 --max-steps 4", &["--epochs", "--max-steps"]),
        ("--epochs 0", &["--epochs is 0; it must be at least 1"]),
        ("--epochs many", &["--epochs", "many"]),
        ("--epochs -3", &["--epochs", "-3"]),
        ("--batch-size 0", &["--batch-size is 0"]),
        ("--lr nan", &["--lr is NaN"]),
        ("--lr inf", &["--lr is inf"]),
        ("--lr -1", &["--lr is -1"]),
        ("--lr 1e39", &["--lr is", "finite"]),
        ("--optimizer adamm", &["adamm", "adam", "adamw"]),
        ("--optimizer nadam", &["nadam", "sgd", "muon"]),
        ("--schedule one-cycel", &["one-cycel", "one-cycle"]),
        ("--data minst:x", &["minst", "mnist"]),
        ("--data mnist", &["mnist"]),
        ("--betas 0.9", &["--betas", "0.9,0.999"]),
        ("--momentum 0.9", &["--momentum goes with --optimizer sgd, rmsprop or muon, not with adamw"]),
        ("--gamma 0.5", &["--gamma goes with --schedule step, multi-step or exponential"]),
        ("--schedule step", &["--schedule step needs --step-size"]),
        ("--schedule one-cycle --warmup-steps 5", &["--warmup-steps goes with"]),
        (
            "--schedule constant --warmup-steps 5 --max-steps 5",
            &["--warmup-steps is 5", "the run has 5 steps"],
        ),
        ("--label-smoothing 2", &["--label-smoothing is 2; it must be from 0 to 1"]),
        ("--clip-norm 0", &["--clip-norm is 0; it must be above 0"]),
        ("--checkpoint-every 0", &["--checkpoint-every is 0"]),
        ("--log-every 0", &["--log-every is 0"]),
        ("--seed 99999999999999999999", &["--seed"]),
        ("--quiet=perhaps", &["--quiet", "perhaps"]),
        ("--epochs 4294967295", &["the most is 4294967295"]),
    ];
    for (flags, parts) in cases {
        place.fails(&format!("train --device cpu {flags}"), 2, parts);
    }
    for (line, parts) in [
        ("trian", &["trian", "train"][..]),
        ("eval", &["<RUN>"]),
        ("predict run", &["<IMAGE>"]),
        ("predict run a.png --top 0", &["--top"]),
        ("eval run --batch-size 0", &["--batch-size"]),
        ("selftest --device cpu", &["--device cpu"]),
    ] {
        place.fails(line, 2, parts);
    }
    assert!(place.contents(".").is_empty(), "nothing was written");
}

#[test]
fn bad_recipes_are_explained() {
    let place = Place::new();
    let cases: &[(&str, &[&str])] = &[
        ("lerning_rate = 1", &["unknown setting \"lerning_rate\""]),
        ("batch_sise = 1", &["unknown setting \"batch_sise\"; did you mean \"batch_size\"?"]),
        ("lr = true", &["line 1 (`lr = true`)"]),
        ("epochs = 3\nlr = \"fast\"", &["line 2 (`lr = \"fast\"`)"]),
        ("epochs = ", &["line 1"]),
        ("epochs = -1", &["line 1"]),
        ("optimizer = \"adm\"", &["adm"]),
        ("lr = -1.0", &["--lr is -1"]),
        ("device = [1]", &["line 1"]),
    ];
    for (recipe, parts) in cases {
        place.write("recipe.toml", recipe);
        place.fails("train recipe.toml", 2, parts);
    }
    place.fails("train missing.toml", 1, &["cannot read missing.toml", "check the path"]);
    place.write("binary.toml", [0xff, 0xfe, 0, 1]);
    place.fails("train binary.toml", 1, &["binary.toml"]);
    place.fails("train .", 1, &["cannot read .", "give a file, not a folder"]);
}

#[test]
fn bad_models_are_explained() {
    let place = Place::new();
    write_tiny(&place);
    let cases: &[(&str, &[&str])] = &[
        ("", &["layers"]),
        ("layers = [", &["bad.toml"]),
        ("layers = [\"relue\"]", &["relue", "relu"]),
        ("layers = [{ conv2d = { out_chanels = 3, kernel_size = 3 } }]", &["out_chanels", "out_channels"]),
        ("layers = [{ conv2d = { out_channels = 4, kernel_size = 9 } }]", &["conv2d \"0\"", "9", "6"]),
        ("layers = [{ linear = { out_features = 3 } }]", &["linear \"0\""]),
        (
            "layers = [\"flatten\", { conv2d = { out_channels = 4, kernel_size = 3 } }]",
            &["conv2d \"1\"", "[16, 36]"],
        ),
        ("layers = [\"flatten\", { linear = { out_features = 4 } }]", &["4", "3"]),
        ("input = [3, 8, 8]\nlayers = [\"flatten\"]", &["[3, 8, 8]", "[1, 6, 6]"]),
        ("layers = [\"flatten\", { linear = { out_features = 18446744073709551615 } }]", &["bad.toml"]),
        ("layers = [{ conv2d = { out_channels = 4, kernel_size = 0 } }]", &["kernel_size"]),
        ("layers = [{ conv2d = { out_channels = 4, kernel_size = 3, groups = 3 } }]", &["groups"]),
    ];
    for (model, parts) in cases {
        place.write("bad.toml", model);
        place.fails(
            "train --data tensors:tiny.safetensors --model bad.toml --batch-size 16 --device cpu",
            1,
            parts,
        );
    }
    place.fails("train --model digit-cnn --device cpu", 1, &["neither built in nor a file", "digits-cnn"]);
    place.fails("train --model no/such.toml --device cpu", 1, &["no/such.toml"]);
    place.fails("train --data digits --model resnet18-cifar --max-steps 0", 2, &["--max-steps is 0"]);
    let names: Vec<String> = place.contents(".").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["bad.toml", "net.toml", "tiny.safetensors"], "nothing was written");
}

#[test]
fn out_must_be_a_folder_that_can_be_made() {
    let place = Place::new();
    write_tiny(&place);
    place.write("file", "");
    let line = format!("train {TINY} --max-steps 1 --out");
    place.fails(&format!("{line} file"), 1, &["cannot create file", "on which no file stands"]);
    place.fails(&format!("{line} file/run"), 1, &["cannot create file/run"]);
    // A folder that holds other things is taken; what is there stays.
    place.write("notes/todo.txt", "milk");
    place.ok(&format!("{line} notes"));
    assert_eq!(place.text("notes/todo.txt"), "milk");
    place.fails(&format!("{line} notes"), 1, &["already holds a run"]);
}
