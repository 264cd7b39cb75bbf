//! What files hold: short, without leftovers, without anything that is true of one machine only.

use super::assert_none;
use super::source::{Source, files};

/// Lines of a file in `src/`; the house aims at 400.
const LONGEST: usize = 450;

/// Files that may be longer, and how long.
const LONGER: &[(&str, usize, &str)] = &[];

fn is_ours(file: &Source) -> bool {
    let written = [".rs", ".wgsl", ".md", ".toml", ".sh", ".py", ".yml", ".yaml"];
    written.iter().any(|ending| file.path.ends_with(ending)) || file.path == ".ci/run"
}

#[test]
fn files_are_short() {
    let mut offences = vec![];
    for file in files().iter().filter(|file| file.path.starts_with("src/") && file.path.ends_with(".rs")) {
        let lines = file.text.lines().count();
        let longest =
            LONGER.iter().find(|(path, ..)| *path == file.path).map_or(LONGEST, |(_, lines, _)| *lines);
        if lines > longest {
            offences.push(format!("{} has {lines} lines, more than {longest}", file.path));
        }
    }
    assert_none("long files", &offences);
}

#[test]
fn exceptions_are_still_needed() {
    for (path, ..) in LONGER {
        let file = files().into_iter().find(|file| file.path == *path);
        let lines = file.map_or(0, |file| file.text.lines().count());
        assert!(lines > LONGEST, "{path} has {lines} lines and needs no exception");
    }
}

#[test]
fn nothing_is_left_over() {
    // Written in two parts, so that this file passes its own test.
    let leftovers = [
        ("to", "do!("),
        ("unimple", "mented!("),
        ("db", "g!("),
        ("TO", "DO"),
        ("FIX", "ME"),
        ("<<<<", "<<< "),
    ];
    let mut offences = vec![];
    for file in files().iter().filter(|file| is_ours(file)) {
        for (number, line) in (1..).zip(file.text.lines()) {
            if line.ends_with([' ', '\t']) {
                offences.push(format!("{}:{number}: spaces at the end", file.path));
            }
            for (left, right) in leftovers {
                let word = format!("{left}{right}");
                if line.contains(&word) {
                    offences.push(format!("{}:{number}: {word}", file.path));
                }
            }
        }
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            offences.push(format!("{}: no line break at the end", file.path));
        }
    }
    assert_none("leftovers", &offences);
}

#[test]
fn files_name_no_machine_and_no_registry() {
    let paths = [("/ro", "ot/"), ("/wo", "rk/"), ("/ho", "me/"), ("/tmp/", "venv"), ("C:\\", "Users")];
    let hosts = [("crates", ".io"), ("pypi", ".org"), ("python", "hosted"), ("npmjs", ".")];
    let mut offences = vec![];
    // Cargo itself writes its registry's name into Cargo.lock.
    for file in files().iter().filter(|file| file.path != "Cargo.lock") {
        for (left, right) in paths.into_iter().chain(hosts) {
            let word = format!("{left}{right}");
            for (number, _) in (1..).zip(file.text.lines()).filter(|(_, line)| line.contains(&word)) {
                offences.push(format!("{}:{number}: {word}", file.path));
            }
        }
    }
    assert_none("machines and registries", &offences);
}
