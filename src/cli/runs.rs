use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, ValueEnum};

use super::report::Column::{self, Number, Text};
use super::report::{say, table};
use crate::error::{Error, Result};
use crate::files;
use crate::report::{Comparison, Difference, Overview, Record, comparison_page, find_runs, short};

/// The arguments of `wgrad runs`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad runs --sort accuracy")]
pub struct RunsArgs {
    /// The folder that holds run folders
    #[arg(default_value = "runs", value_name = "DIR")]
    pub folder: PathBuf,
    /// What comes first: the first name, the highest accuracy, the lowest loss, the most images per second, or the latest
    #[arg(long, value_name = "BY", default_value = "name")]
    pub sort: RunOrder,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The orders of `wgrad runs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the help of --sort says what they are")]
pub enum RunOrder {
    Name,
    Accuracy,
    Loss,
    Speed,
    Latest,
}

/// The arguments of `wgrad compare`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad compare runs/digits-cnn-1 runs/digits-cnn-2 --out compare.html")]
pub struct CompareArgs {
    /// The folders of the runs
    #[arg(required = true, num_args = 1.., value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Also write a page with the runs' curves over each other
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Reads run folders; says on standard error what is damaged in them.
fn read(runs: &[PathBuf]) -> Result<Vec<Record>> {
    let records = runs.iter().map(|run| Record::read(run)).collect::<Result<Vec<Record>>>()?;
    for warning in records.iter().flat_map(|record| &record.warnings) {
        eprintln!("warning: {warning}");
    }
    Ok(records)
}

/// `wgrad runs`
pub(super) fn run(args: &RunsArgs) -> Result<()> {
    let (found, lost): (Vec<PathBuf>, Vec<PathBuf>) =
        find_runs(&args.folder)?.into_iter().partition(|run| run.join("recipe.toml").is_file());
    for run in &lost {
        eprintln!("warning: {} looks like a run but has no recipe.toml; it is left out", run.display());
    }
    let mut rows: Vec<Overview> = read(&found)?.iter().map(Overview::of).collect();
    sort(&mut rows, args.sort);
    if args.json {
        say(serde_json::to_string_pretty(&rows).map_err(|error| Error::Data(error.to_string()))?);
    } else if rows.is_empty() {
        say(format!("no runs in {}", args.folder.display()));
    } else {
        print(&rows);
    }
    Ok(())
}

fn sort(rows: &mut [Overview], order: RunOrder) {
    // What is not known comes last.
    let high = |value: Option<f64>| value.unwrap_or(f64::NEG_INFINITY);
    let written = |row: &Overview| {
        let file = std::fs::metadata(row.run.join("metrics.jsonl"));
        file.and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    match order {
        RunOrder::Name => {}
        RunOrder::Accuracy => rows.sort_by(|a, b| high(b.best_accuracy).total_cmp(&high(a.best_accuracy))),
        RunOrder::Loss => rows.sort_by(|a, b| {
            let low = |row: &Overview| row.test_loss.unwrap_or(f64::INFINITY);
            low(a).total_cmp(&low(b))
        }),
        RunOrder::Speed => rows.sort_by(|a, b| high(b.img_per_s).total_cmp(&high(a.img_per_s))),
        RunOrder::Latest => rows.sort_by_cached_key(|row| std::cmp::Reverse(written(row))),
    }
}

fn print(rows: &[Overview]) {
    let best = rows.iter().filter_map(|row| row.best_accuracy).max_by(f64::total_cmp);
    let texts = ["run", "model", "data"].map(Text);
    let numbers = ["epochs", "test loss", "accuracy %", "best %", "images/s"].map(Number);
    let mut shown = table(&[&texts[..], &numbers].concat());
    let percent = |share: Option<f64>| share.map_or("-".to_string(), |share| format!("{:.2}", share * 100.0));
    for row in rows {
        let mark = if row.best_accuracy.is_some() && row.best_accuracy == best { " *" } else { "" };
        shown.add_row([
            row.run.display().to_string(),
            row.model.clone(),
            row.data.clone(),
            row.epochs.map_or("-".to_string(), short),
            row.test_loss.map_or("-".to_string(), |loss| format!("{loss:.4}")),
            percent(row.test_accuracy),
            percent(row.best_accuracy) + mark,
            row.img_per_s.map_or("-".to_string(), |rate| format!("{rate:.0}")),
        ]);
    }
    say(shown);
    let count = rows.len();
    say(format!(
        "{count} run{}; * has the best accuracy on its test split",
        if count == 1 { "" } else { "s" }
    ));
}

/// `wgrad compare`
pub(super) fn compare(args: &CompareArgs) -> Result<()> {
    let records = read(&args.runs)?;
    let comparison = Comparison::of(&records);
    if args.json {
        say(serde_json::to_string_pretty(&comparison).map_err(|error| Error::Data(error.to_string()))?);
    } else {
        print_differences("setting", &comparison.runs, &comparison.settings);
        print_differences("result", &comparison.runs, &comparison.results);
    }
    if let Some(path) = &args.out {
        let page = comparison_page(&records)?;
        files::write_bytes(path, page)?;
        if !args.json {
            say(format!("page written to {}", path.display()));
        }
    }
    Ok(())
}

fn print_differences(what: &str, runs: &[String], differences: &[Difference]) {
    if differences.is_empty() {
        say("the recipes are the same");
        return;
    }
    let header: Vec<Column> =
        std::iter::once(what).chain(runs.iter().map(String::as_str)).map(Text).collect();
    let mut shown = table(&header);
    for row in differences {
        let values = row.values.iter().map(|value| if value.is_empty() { "-" } else { value.as_str() });
        shown.add_row(std::iter::once(row.name.as_str()).chain(values));
    }
    say(shown);
}
