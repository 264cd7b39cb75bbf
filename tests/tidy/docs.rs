//! Commands and links of the documentation: what README and `docs/` tell people to type is understood, and what they
//! point to is there.

use std::path::{Path, PathBuf};

use clap::Parser;
use wgrad::cli::Cli;

use super::assert_none;
use super::source::{Source, files};

/// README, CHANGELOG, ARCHITECTURE and the pages of the book.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders =
        [root.to_path_buf(), root.join("docs"), root.join("docs/measurements"), root.join("recipes")];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("the folder is there"));
    let paths = entries.map(|entry| entry.expect("readable").path());
    let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.map(|path| (path.clone(), std::fs::read_to_string(path).expect("readable"))).collect()
}

/// The lines that begin with `$ wgrad`, joined where they end in a backslash, as words without quotes and comments.
fn commands(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| line.trim_start().strip_prefix("$ "));
    let lines = lines.filter(|line| line.starts_with("wgrad "));
    lines
        .map(|line| {
            let words =
                line.split_whitespace().take_while(|word| !matches!(*word, "#" | "|" | ">" | "&" | "&&"));
            words.map(|word| word.trim_matches(|c| c == '\'' || c == '"').to_string()).collect()
        })
        .collect()
}

#[test]
fn commands_are_understood() {
    let mut count = 0;
    let mut offences = vec![];
    for (path, text) in pages() {
        for words in commands(&text) {
            count += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                let message = error.to_string();
                offences.push(format!(
                    "{}: {}: {}",
                    path.display(),
                    words.join(" "),
                    message.lines().next().unwrap_or_default()
                ));
            }
        }
    }
    assert!(count > 20, "only {count} commands were found");
    assert_none("commands in the documentation", &offences);
}

#[test]
fn links_lead_somewhere() {
    let mut offences = vec![];
    for (path, text) in pages() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.contains(' ') {
                continue;
            }
            let folder = path.parent().expect("pages are in folders");
            if !folder.join(file).exists() {
                offences.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert_none("links in the documentation", &offences);
}

#[test]
fn messages_point_to_pages_that_are_there() {
    let (mut count, mut offences) = (0, vec![]);
    let rust = files().into_iter().filter(|file| file.path.starts_with("src/") && file.path.ends_with(".rs"));
    for Source { path, text } in rust {
        for name in text.split("docs/").skip(1).filter_map(|rest| rest.split(".md").next()) {
            if name.len() > 40
                || name.contains(|letter: char| !(letter.is_alphanumeric() || "-/".contains(letter)))
            {
                continue;
            }
            count += 1;
            if !Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(format!("{name}.md")).exists() {
                offences.push(format!("{path}: docs/{name}.md"));
            }
        }
    }
    assert!(count > 3, "only {count} were found");
    assert_none("pages that messages point to", &offences);
}
