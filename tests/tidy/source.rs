//! The tracked files of the repository, and what Rust code names in them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the repository.
pub struct Source {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// Its content; empty if it is no text.
    pub text: String,
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All tracked files, and those that git would add; without git all files but build outputs.
pub fn files() -> Vec<Source> {
    let paths = tracked().unwrap_or_else(walk);
    assert!(paths.iter().any(|path| path == "Cargo.toml"), "the repository's files are not found");
    let existing = paths.into_iter().filter(|path| root().join(path).is_file());
    existing
        .map(|path| {
            let bytes = std::fs::read(root().join(&path)).expect("the file is readable");
            Source { path, text: String::from_utf8(bytes).unwrap_or_default() }
        })
        .collect()
}

/// Rust files of `src/`, without comments and the content of strings; line numbers are kept.
pub fn code() -> Vec<Source> {
    let files =
        files().into_iter().filter(|file| file.path.starts_with("src/") && file.path.ends_with(".rs"));
    files.map(|file| Source { text: without_comments_and_strings(&file.text), path: file.path }).collect()
}

fn tracked() -> Option<Vec<String>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(root()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let paths: Vec<String> = text.split('\0').filter(|path| !path.is_empty()).map(String::from).collect();
    (output.status.success() && !paths.is_empty()).then_some(paths)
}

fn walk() -> Vec<String> {
    const OUTPUTS: [&str; 5] = ["target", ".git", "runs", ".venv", "__pycache__"];
    let (mut folders, mut paths) = (vec![PathBuf::new()], vec![]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).expect("the folder is readable") {
            let entry = entry.expect("the entry is readable");
            let path = folder.join(entry.file_name());
            if OUTPUTS.iter().any(|output| entry.file_name() == *output) {
                continue;
            }
            match entry.file_type().expect("the entry has a type") {
                kind if kind.is_dir() => folders.push(path),
                _ => paths.push(path.to_string_lossy().replace('\\', "/")),
            }
        }
    }
    paths
}

/// The first segments that follow `start::` (`crate`, `std`), each with its line: `crate::{a, b::c}` names a and b.
pub fn names_under(start: &str, code: &str) -> Vec<(usize, String)> {
    let prefix = format!("{start}::");
    let mut found = vec![];
    for (at, _) in code.match_indices(&prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let line = line_of(code, at);
        let rest = &code[at + prefix.len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => members(group),
            None => vec![identifier(rest)],
        };
        found.extend(names.into_iter().filter(|name| !name.is_empty()).map(|name| (line, name.to_string())));
    }
    found
}

/// The lines on which a word stands by itself.
pub fn lines_with_word(word: &str, code: &str) -> Vec<usize> {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .filter(|(at, _)| !code[..*at].ends_with(inside) && !code[at + word.len()..].starts_with(inside))
        .map(|(at, _)| line_of(code, at))
        .collect()
}

/// From 1.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// First segments of the members of a `use` group whose opening brace has been read.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, vec![]);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(identifier(group[start..at].trim_start()));
                return found;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(identifier(group[start..at].trim_start()));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// Blanks `//` comments and string literals. Knows as much of Rust as this repository uses.
fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => string_len(rest),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#\"") => raw_string_len(rest),
            '\'' if rest.starts_with("'\"'") => 3,
            _ => 0,
        };
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            rest = &rest[skipped..];
        }
    }
    code
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string_len(text: &str) -> usize {
    let (open, close) = if text.starts_with("r#") { (3, "\"#") } else { (2, "\"") };
    text[open..].find(close).map_or(text.len(), |at| open + at + close.len())
}

#[test]
fn code_is_read_as_rust_reads_it() {
    let text =
        "use crate::{a::{x, y}, b};\n// crate::c\nlet s = \"crate::d \\\" crate::e\"; crate::f();\n$crate::g";
    let code = without_comments_and_strings(text);
    let names: Vec<(usize, String)> = names_under("crate", &code);
    let expected = [(1, "a"), (1, "b"), (3, "f"), (4, "g")].map(|(line, name)| (line, name.to_string()));
    assert_eq!(names, expected);
    assert_eq!(lines_with_word("let", "let outlet\nlets let"), [1, 2]);
}
