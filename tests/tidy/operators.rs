//! One stem per operator, and README's table of operators.

use std::collections::BTreeSet;
use std::fmt::Write;

use wgrad::{ops, plan};

use super::assert_none;
use super::source::{files, root};

const BEGIN: &str = "<!-- operators -->";
const END: &str = "<!-- /operators -->";

#[test]
fn every_operator_has_its_two_files() {
    let paths: BTreeSet<String> = files().into_iter().map(|file| file.path).collect();
    let mut offences = vec![];
    for operator in ops::registry() {
        for path in [format!("src/ops/{}.rs", operator.name), format!("shaders/{}.wgsl", operator.name)] {
            if !paths.contains(&path) {
                offences.push(format!("{} has no {path}", operator.name));
            }
        }
    }
    assert_none("one stem per operator", &offences);
}

#[test]
fn every_shader_is_used() {
    let known: BTreeSet<&str> = plan::shaders().map(|(stem, _)| stem).collect();
    let snippets: Vec<&str> = plan::shaders().flat_map(|(_, shader)| shader.snippets).copied().collect();
    let mut offences = vec![];
    for file in files() {
        let Some(name) = file.path.strip_prefix("shaders/").and_then(|path| path.strip_suffix(".wgsl"))
        else {
            continue;
        };
        let used = match name.strip_prefix("shared/") {
            Some(stem) => snippets.contains(&file.text.as_str()) || ops::variant_snippet(stem).is_some(),
            None => known.contains(name),
        };
        if !used {
            offences.push(format!("{} belongs to no operator and no update", file.path));
        }
    }
    assert_none("orphan shaders", &offences);
}

#[test]
fn the_registry_is_in_alphabetical_order() {
    let names: Vec<&str> = ops::registry().iter().map(|operator| operator.name).collect();
    assert!(names.is_sorted(), "{names:?}");
}

/// `WGRAD_BLESS=1 cargo test --release --test tidy` writes the table instead of comparing it.
#[test]
fn readme_has_the_table_of_operators() {
    let path = root().join("README.md");
    let readme = std::fs::read_to_string(&path).expect("there is a README.md");
    let begin = readme.find(BEGIN).map(|at| at + BEGIN.len());
    let (Some(begin), Some(end)) = (begin, readme.find(END)) else {
        panic!("README.md has no {BEGIN} ... {END} around its table of operators:\n{}", table());
    };
    let wanted = format!("\n{}", table());
    if readme[begin..end] == wanted {
        return;
    }
    if std::env::var_os("WGRAD_BLESS").is_some() {
        let text = format!("{}{wanted}{}", &readme[..begin], &readme[end..]);
        std::fs::write(&path, text).expect("README.md is writable");
        return;
    }
    panic!("between {BEGIN} and {END} README.md should have (WGRAD_BLESS=1 writes it):\n{wanted}");
}

fn table() -> String {
    let mut table = "| operator | in model files | |\n|---|---|---|\n".to_string();
    for operator in ops::registry() {
        let name = operator.name;
        let layer = if operator.layer.is_some() { "yes" } else { "" };
        let summary = operator.summary.replace('|', "\\|");
        writeln!(table, "| [`{name}`](src/ops/{name}.rs) | {layer} | {summary} |")
            .expect("a String takes all");
    }
    table
}
