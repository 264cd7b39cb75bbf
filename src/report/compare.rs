//! Runs beside each other: what their recipes differ in, and what came of it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::chart::{Chart, Series, Unit, chart, short};
use super::page::{percent, render};
use super::record::{EvaluationRow, Record};
use crate::error::{Error, Result};

/// Folders below the one that is searched for runs.
const DEPTH: usize = 3;

/// A run in one line; what is not known is left out of JSON as null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// The run folder.
    pub run: PathBuf,
    /// As the recipe names it.
    pub model: String,
    /// As the recipe names it.
    pub data: String,
    /// Epochs done.
    pub epochs: Option<f64>,
    /// After the last evaluation.
    pub test_loss: Option<f64>,
    /// After the last evaluation, a fraction.
    pub test_accuracy: Option<f64>,
    /// The highest of all evaluations.
    pub best_accuracy: Option<f64>,
    /// Mean over the epochs.
    pub img_per_s: Option<f64>,
    /// Whether some file of the run is missing or damaged.
    pub damaged: bool,
}

impl Overview {
    /// The line of a run.
    pub fn of(record: &Record) -> Overview {
        let known =
            |value: fn(&EvaluationRow) -> f64| record.last().map(value).filter(|value| value.is_finite());
        Overview {
            run: record.path.clone(),
            model: record.setting("model").to_string(),
            data: record.setting("data").to_string(),
            epochs: known(|row| row.epochs),
            test_loss: known(|row| row.test_loss),
            test_accuracy: known(|row| row.test_accuracy),
            best_accuracy: record.best().map(|row| row.test_accuracy),
            img_per_s: record.throughput(),
            damaged: !record.warnings.is_empty(),
        }
    }
}

/// The run folders at or below a folder, in the order of their names, numbers counted.
pub fn find_runs(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Err(Error::file(folder, "is no folder; give one that holds run folders"));
    }
    let mut found = vec![];
    search(folder, DEPTH, &mut found);
    found.sort_by_cached_key(|path| natural(&path.display().to_string()));
    Ok(found)
}

fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    // A run whose recipe was lost is still one to be named.
    if ["recipe.toml", "metrics.jsonl", "checkpoint.safetensors"]
        .iter()
        .any(|name| folder.join(name).is_file())
    {
        found.push(folder.to_path_buf());
        return;
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        search(&entry.path(), depth - 1, found);
    }
}

/// Text and numbers in turn: `run-9` comes before `run-10`.
fn natural(text: &str) -> Vec<(String, u64)> {
    let mut parts = vec![];
    let mut rest = text;
    while !rest.is_empty() {
        let words = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(words);
        let digits = tail.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(tail.len());
        let (number, tail) = tail.split_at(digits);
        parts.push((word.to_string(), number.parse().unwrap_or(u64::MAX)));
        rest = tail;
    }
    parts
}

/// A row of a comparison: a value for each run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The recipe's key, or what was measured.
    pub name: String,
    /// In the order of the runs; empty where a run has none.
    pub values: Vec<String>,
}

/// What runs differ in, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The run folders.
    pub runs: Vec<String>,
    /// Settings that are not the same in all recipes.
    pub settings: Vec<Difference>,
    /// Results.
    pub results: Vec<Difference>,
}

impl Comparison {
    /// Compares runs. Where a run was to be written is no difference.
    pub fn of(records: &[Record]) -> Comparison {
        let mut keys: Vec<&String> = records.iter().flat_map(|record| record.settings.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        let row = |key: &&String| Difference {
            name: key.to_string(),
            values: records.iter().map(|record| record.setting(key).to_string()).collect(),
        };
        let differs =
            |row: &Difference| row.name != "out" && row.values.windows(2).any(|two| two[0] != two[1]);
        let result = |name: &str, value: &dyn Fn(&Record) -> Option<String>| Difference {
            name: name.to_string(),
            values: records.iter().map(|record| value(record).unwrap_or_default()).collect(),
        };
        let results = vec![
            result("epochs", &|record| record.last().map(|row| short(row.epochs))),
            result("train loss", &|record| record.epochs().last().map(|row| short(row.train_loss))),
            result("test loss", &|record| record.last().map(|row| short(row.test_loss))),
            result("test accuracy", &|record| record.last().map(|row| percent(row.test_accuracy))),
            result("best accuracy", &|record| record.best().map(|row| percent(row.test_accuracy))),
            result("best after epochs", &|record| record.best().map(|row| short(row.epochs))),
            result("images/s", &|record| record.throughput().map(|rate| format!("{rate:.0}"))),
        ];
        Comparison {
            runs: records.iter().map(|record| record.path.display().to_string()).collect(),
            settings: keys.iter().map(row).filter(differs).collect(),
            results,
        }
    }
}

#[derive(Serialize)]
struct Page<'a> {
    title: String,
    version: &'static str,
    notes: Vec<&'a String>,
    comparison: Comparison,
    charts: Vec<Chart>,
}

/// A page of several runs, their curves over each other.
pub fn comparison_page(records: &[Record]) -> Result<String> {
    let comparison = Comparison::of(records);
    let page = Page {
        title: format!("{} runs compared", records.len()),
        version: env!("CARGO_PKG_VERSION"),
        notes: records.iter().flat_map(|record| &record.warnings).collect(),
        charts: charts(records),
        comparison,
    };
    render("compare.html", &page)
}

fn charts(records: &[Record]) -> Vec<Chart> {
    let evaluated = |value: fn(&EvaluationRow) -> f64| -> Vec<Series> {
        let one = |(index, record): (usize, &Record)| {
            let points = record.evaluations.iter().map(|row| (row.epochs, value(row)));
            Series::new(record.path.display().to_string(), index, points)
        };
        records.iter().enumerate().map(one).collect()
    };
    let stepped = |value: fn(&super::StepRow) -> f64| -> Vec<Series> {
        let one = |(index, record): (usize, &Record)| {
            let points = record.steps.iter().map(|row| (row.step as f64, value(row)));
            Series::new(record.path.display().to_string(), index, points)
        };
        records.iter().enumerate().map(one).collect()
    };
    let charts = [
        chart("Test accuracy", "epoch", Unit::Percent, evaluated(|row| row.test_accuracy)),
        chart("Test loss", "epoch", Unit::Magnitude, evaluated(|row| row.test_loss)),
        chart("Training accuracy", "epoch", Unit::Percent, evaluated(|row| row.train_accuracy)),
        chart("Training loss", "epoch", Unit::Magnitude, evaluated(|row| row.train_loss)),
        chart("Learning rate", "step", Unit::Number, stepped(|row| row.lr)),
        chart("Images per second", "step", Unit::Number, stepped(|row| row.img_per_s)),
    ];
    charts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_counted() {
        let mut names = vec!["run-10", "run-9", "a", "run-9-b", "run"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["a", "run", "run-9", "run-9-b", "run-10"]);
    }
}
