//! The `wgrad` binary as a user meets it: every command, every kind of bad input, runs that are killed and resumed.

mod bad_data;
mod bad_flags;
mod bad_runs;
mod bench;
mod commands;
mod control;
mod damage;
#[cfg(all(feature = "tui", unix))]
mod dashboard;
mod disks;
mod download;
mod evaluation;
mod exchange;
mod files;
mod gpu;
mod lr_find;
mod micro_batches;
mod not_finite;
mod predict;
mod pretrained;
mod preview;
mod recipes;
mod report;
mod resume;
mod server;
#[cfg(all(feature = "serve", unix))]
mod serving;
mod train;
mod tune;
mod views;
mod weights;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder of its own, in which `wgrad` is run.
pub struct Place {
    dir: TempDir,
}

/// What a run of `wgrad` left behind.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn text(&self, name: impl AsRef<Path>) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// The binary in this folder, with the words of `line` as arguments.
    pub fn command(&self, line: &str) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_wgrad"));
        command.args(line.split_whitespace());
        command
    }

    /// A program in this folder.
    pub fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        // A backtrace would be seen; and libwayland, which a layer of Mesa loads, complains without this folder.
        command.env("RUST_BACKTRACE", "1").env("XDG_RUNTIME_DIR", self.dir.path());
        // Nothing is left in the home of whoever runs the tests.
        command.env("WGRAD_CACHE", "off");
        command
    }

    pub fn run(&self, line: &str) -> Ran {
        Ran::of(self.command(line).output())
    }

    /// Runs a command that must succeed.
    pub fn ok(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "wgrad {line}: {ran:?}");
        ran.never_panicked();
        ran
    }

    /// Runs a command that must fail with this code and one line that holds all `parts`.
    pub fn fails(&self, line: &str, code: i32, parts: &[&str]) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(code), "wgrad {line}: {ran:?}");
        ran.says(parts);
        ran
    }

    /// Starts a command that goes on while the test does something else.
    pub fn start(&self, line: &str) -> Child {
        self.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The lines of a run's metrics without speeds, which differ from run to run.
    pub fn metrics(&self, run: &str) -> Vec<Value> {
        let lines = self.text(format!("{run}/metrics.jsonl"));
        let parse = |line: &str| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("img_per_s");
            line
        };
        lines.lines().map(parse).collect()
    }

    /// Copies a folder of files.
    pub fn copy(&self, from: &str, to: &str) {
        fs::create_dir_all(self.path(to)).unwrap();
        for (name, content) in self.contents(from) {
            fs::write(self.path(to).join(name), content).unwrap();
        }
    }

    /// Copies the run `run` of another place.
    pub fn copy_run(&self, from: &Place) {
        fs::create_dir_all(self.path("run")).unwrap();
        for (name, content) in from.contents("run") {
            fs::write(self.path("run").join(name), content).unwrap();
        }
    }

    /// Names and contents of a folder's files, in order, without folders in it.
    pub fn contents(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.path(folder)).unwrap().map(|entry| entry.unwrap());
        let entries = entries.filter(|entry| entry.file_type().unwrap().is_file());
        let read =
            |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
        let mut files: Vec<_> = entries.map(read).collect();
        files.sort();
        files
    }

    /// Both runs have the same weights, the same state and the same metrics.
    pub fn same_bits(&self, run: &str, other: &str) {
        assert_eq!(self.metrics(run), self.metrics(other), "{run} and {other}: metrics");
        for name in ["model.safetensors", "checkpoint.safetensors"] {
            let [one, two] = [run, other].map(|run| self.read(Path::new(run).join(name)));
            assert!(one == two, "{name} of {run} and {other} differ");
        }
    }
}

impl Ran {
    pub fn of(output: std::io::Result<Output>) -> Ran {
        let output = output.unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        Ran { code: output.status.code(), out, err }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    pub fn never_panicked(&self) {
        for sign in ["panicked", "RUST_BACKTRACE", "stack backtrace", "overflowed its stack"] {
            assert!(!self.err.contains(sign), "{}", self.err);
        }
    }

    /// The one error; warnings and notes may come before it.
    pub fn error(&self) -> &str {
        self.never_panicked();
        let is_remark = |line: &&str| line.starts_with("warning: ") || line.starts_with("note: ");
        let lines: Vec<&str> = self.err.lines().filter(|line| !is_remark(line)).collect();
        assert_eq!(lines.len(), 1, "one line expected: {}", self.err);
        let error = lines[0].strip_prefix("error: ").unwrap_or_else(|| panic!("no error: {}", self.err));
        assert!(!error.ends_with('.'), "{error}");
        error
    }

    /// The error holds all parts.
    pub fn says(&self, parts: &[&str]) {
        let error = self.error();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }

    /// Some line of standard error holds all parts.
    pub fn remarks(&self, parts: &[&str]) {
        let found = self.err.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "{parts:?} is not in: {}", self.err);
    }
}
