//! Strict layers: a module uses only modules above it in the table, and some only some of those.

use super::assert_none;
use super::source::{Source, code, lines_with_word, names_under};

/// Each module with the modules it may use; it may use only rows above its own, so there are no cycles.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    // Names of a struct's fields as serde sees them, for messages of recipes and model files.
    ("fields", &["error"]),
    // Files that are replaced whole or not at all.
    ("files", &["error"]),
    ("tensor", &["error"]),
    // What is done to samples: settings, parameters, whole-number kernels. The operator, the loader and recipes share it.
    ("augment", &["error", "tensor"]),
    ("graph", &["error", "tensor"]),
    ("ops", &["error", "fields", "tensor", "augment", "graph"]),
    ("fusion", &["error", "tensor", "graph", "ops"]),
    ("optim", &["error", "tensor", "graph", "ops"]),
    ("plan", &["error", "tensor", "graph"]),
    ("cpu", &["error", "tensor", "graph", "plan"]),
    ("gpu", &["error", "tensor", "graph", "plan"]),
    ("data", &["error", "files", "tensor", "augment"]),
    ("models", &["error", "fields", "tensor", "graph", "ops"]),
    ("fetch", &["error", "fields", "files"]),
    ("selftest", &["error", "tensor", "graph", "ops", "optim", "plan", "cpu", "gpu"]),
    (
        "train",
        &[
            "error", "fields", "files", "tensor", "augment", "graph", "ops", "fusion", "optim", "plan",
            "cpu", "gpu", "data", "models",
        ],
    ),
    // A run's model behind HTTP.
    ("serve", &["error", "data", "train"]),
    // Models that come from other tools and go there.
    ("exchange", &["error", "files", "tensor", "graph", "ops", "data", "models", "train"]),
    // Pages and files about a run, from what training left behind.
    ("report", &["error", "files", "tensor", "graph", "plan", "data", "models", "train"]),
    (
        "cli",
        &[
            "error", "fields", "files", "tensor", "augment", "graph", "ops", "fusion", "optim", "plan",
            "cpu", "gpu", "data", "models", "fetch", "selftest", "train", "serve", "exchange", "report",
        ],
    ),
];

/// Files that may use more than their module.
const EXCEPTIONS: &[(&str, &[&str], &str)] = &[
    ("src/plan/shader.rs", &["ops", "optim"], "the one place that finds a shader's text by its stem"),
    ("src/exchange/import/node_tests.rs", &["plan", "cpu"], "tests that run graphs which are no classifiers"),
];

/// Macros and types that the crate's root names, with the module that defines them.
const AT_THE_ROOT: &[(&str, &str)] =
    &[("Error", "error"), ("Result", "error"), ("cpu_kernel", "graph"), ("shader", "ops")];

/// Describing and executing use no threads, files or clocks of their own: callers supply them.
const PURE: &[&str] = &["tensor", "augment", "graph", "ops", "fusion", "plan", "gpu", "optim", "models"];

/// Files of pure modules that may touch the world.
const IMPURE_FILES: &[(&str, &str)] =
    &[("src/models/spec.rs", "reads a model file, whose path the user gives")];

/// Files in which unsafe code is allowed.
const ISLANDS: &[&str] = &["src/cpu/gemm.rs", "src/cpu/gemm/lanes.rs", "src/gpu/trusted.rs"];

#[test]
fn the_table_has_no_cycles() {
    for (index, (module, uses)) in LAYERS.iter().enumerate() {
        for used in *uses {
            let above = LAYERS[..index].iter().any(|(name, _)| name == used);
            assert!(above, "{module} may use {used}, which is not above it");
        }
    }
}

#[test]
fn modules_use_only_what_is_below_them() {
    let mut offences = vec![];
    for file in code() {
        let Some(module) = module_of(&file.path) else { continue };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            offences.push(format!("{}: the module {module} is in no layer", file.path));
            continue;
        };
        let more =
            EXCEPTIONS.iter().find(|(path, ..)| *path == file.path).map_or(&[][..], |(_, more, _)| more);
        for (line, name) in names_under("crate", &file.text) {
            let used =
                AT_THE_ROOT.iter().find(|(at_root, _)| *at_root == name).map_or(&*name, |(_, home)| home);
            if used != module && !allowed.contains(&used) && !more.contains(&used) {
                offences.push(format!("{}:{line}: {module} may not use {used}", file.path));
            }
        }
        offences.extend(climbs(&file));
    }
    assert_none("layers (tests/tidy/layering.rs)", &offences);
}

/// The module of a file in `src/`; none for the roots of the library and the binary.
fn module_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let module = inside.split('/').next()?.trim_end_matches(".rs");
    (!["lib", "main"].contains(&module)).then_some(module)
}

/// `super::super` must not climb to the root of the crate, where the table above would not see it.
fn climbs(file: &Source) -> Vec<String> {
    let inside = file.path.trim_start_matches("src/").trim_end_matches("mod.rs").trim_end_matches(".rs");
    let depth = inside.split('/').filter(|segment| !segment.is_empty()).count();
    // A module for tests inside the file is one deeper.
    let depth = if file.text.contains("mod tests {") { depth + 1 } else { depth };
    let climb = "super::".repeat(depth);
    let lines = file.text.lines().enumerate().filter(|(_, line)| line.contains(&climb));
    lines
        .map(|(line, _)| format!("{}:{}: write crate:: instead of climbing to it", file.path, line + 1))
        .collect()
}

#[test]
fn what_describes_and_executes_has_no_threads_files_or_clocks() {
    let mut offences = vec![];
    for file in code() {
        let pure = module_of(&file.path).is_some_and(|module| PURE.contains(&module));
        if !pure || IMPURE_FILES.iter().any(|(path, _)| *path == file.path) {
            continue;
        }
        for (line, name) in names_under("std", &file.text) {
            if ["thread", "fs", "time", "env", "process", "net"].contains(&name.as_str()) {
                offences.push(format!("{}:{line}: uses std::{name}", file.path));
            }
        }
        let rayon = lines_with_word("rayon", &file.text);
        offences.extend(rayon.into_iter().map(|line| format!("{}:{line}: uses rayon", file.path)));
    }
    assert_none("threads, files and clocks come from the caller", &offences);
}

#[test]
fn crates_stay_in_their_place() {
    let homes: [(&str, &[&str]); 10] = [
        ("ureq", &["src/fetch/"]),
        ("wgpu", &["src/gpu/"]),
        ("naga", &["src/gpu/"]),
        ("pulp", &["src/graph/lanes.rs", "src/tensor/simd.rs", "src/ops/shared/simd.rs"]),
        // A setting of a recipe is declared once: key, flag and help.
        ("clap", &["src/cli/", "src/main.rs", "src/train/recipe/"]),
        // The pieces of work that gpu::Spawner runs are plain functions, so the one that compiles shaders blocks.
        // The server's model has a thread of its own.
        ("pollster", &["src/cli/", "src/main.rs", "src/gpu/pipelines.rs", "src/serve/batcher.rs"]),
        ("axum", &["src/serve/"]),
        ("hyper", &["src/serve/"]),
        ("tokio", &["src/serve/"]),
        ("ratatui", &["src/cli/dashboard/"]),
    ];
    let mut offences = vec![];
    for file in code() {
        for (name, places) in homes {
            if places.iter().any(|place| file.path.starts_with(place)) {
                continue;
            }
            let lines = names_of_crate(name, &file.text);
            offences.extend(lines.into_iter().map(|line| format!("{}:{line}: names {name}", file.path)));
        }
    }
    assert_none("crates outside their place", &offences);
}

/// Lines on which `name::` starts a path.
fn names_of_crate(name: &str, code: &str) -> Vec<usize> {
    names_under(name, code)
        .into_iter()
        .map(|(line, _)| line)
        .filter(|line| {
            let text = code.lines().nth(line - 1).unwrap_or_default();
            !["super", "crate", "self"].iter().any(|parent| text.contains(&format!("{parent}::{name}::")))
        })
        .collect()
}

#[test]
fn unsafe_code_stays_on_its_islands() {
    let mut offences = vec![];
    for file in code().into_iter().filter(|file| !ISLANDS.contains(&file.path.as_str())) {
        for word in ["unsafe", "allow(unsafe_code)"] {
            let lines = lines_with_word(word, &file.text);
            offences.extend(lines.into_iter().map(|line| format!("{}:{line}: {word}", file.path)));
        }
    }
    assert_none("unsafe code outside of its islands", &offences);
}
