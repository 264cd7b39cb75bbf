//! What people see: progress bars, tables, a line per epoch.

use std::io::{Cursor, IsTerminal, Write};
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use image::{ImageFormat, RgbImage};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use Column::{Number, Text};

use crate::error::{Error, Result};
use crate::files;
use crate::train::metrics::TestLine;
use crate::train::{ClassRow, Evaluation};

/// Writes a picture as a PNG file.
pub(super) fn write_png(path: &Path, picture: &RgbImage) -> Result<()> {
    let mut png = Cursor::new(vec![]);
    let encoded = picture.write_to(&mut png, ImageFormat::Png);
    encoded.map_err(|error| Error::file(path, format!("cannot be written: {error}")))?;
    files::write_bytes(path, png.into_inner())
}

/// Prints a line to standard output; nobody is left to tell if that is closed.
pub(super) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A progress bar on standard error, drawn only if that is a terminal.
pub(super) fn bar(length: u64, template: &str, quiet: bool) -> ProgressBar {
    let hidden = quiet || !std::io::stderr().is_terminal();
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(8) };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    // A template that does not parse would be our own mistake; the plain bar does then.
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// What a column of a table holds, by its header.
#[derive(Clone, Copy)]
pub(super) enum Column<'a> {
    /// Words, which begin at the left.
    Text(&'a str),
    /// Numbers, which end at the right.
    Number(&'a str),
}

/// A table with a header.
pub(super) fn table(columns: &[Column<'_>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(columns.iter().map(|column| match column {
        Text(name) | Number(name) => *name,
    }));
    for (shown, column) in table.column_iter_mut().zip(columns) {
        if matches!(column, Number(_)) {
            shown.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Accuracy and loss, and a table of the classes.
pub(super) fn evaluation(evaluation: &Evaluation, classes: &[String]) -> String {
    let mut rows =
        table(&[Text("class"), Number("precision %"), Number("recall %"), Number("F1 %"), Number("images")]);
    for (name, row) in classes.iter().zip(evaluation.classes()) {
        let percent = |share: f64| format!("{:.2}", share * 100.0);
        let images = row.support.to_string();
        rows.add_row([name.clone(), percent(row.precision), percent(row.recall), percent(row.f1), images]);
    }
    let count: u64 = evaluation.confusion.iter().flatten().sum();
    let right = (evaluation.accuracy * count as f64).round();
    let accuracy = evaluation.accuracy * 100.0;
    let [top5, f1, ece] =
        [evaluation.top5_accuracy, evaluation.macro_f1(), evaluation.ece].map(|share| share * 100.0);
    format!(
        "{rows}\ntest accuracy {accuracy:.2} % ({right} of {count} images), loss {:.4}\ntop-5 accuracy {top5:.2} %, mean F1 \
         {f1:.2} %, calibration error {ece:.2} %",
        evaluation.loss
    )
}

/// The confusion matrix: a row for each true class, a column for each prediction.
pub(super) fn confusion(evaluation: &Evaluation, classes: &[String]) -> Table {
    let predicted = classes.iter().map(|class| Number(class));
    let header: Vec<Column> = std::iter::once(Text("true \\ predicted")).chain(predicted).collect();
    let mut rows = table(&header);
    for (name, counts) in classes.iter().zip(&evaluation.confusion) {
        rows.add_row(std::iter::once(name.clone()).chain(counts.iter().map(u64::to_string)));
    }
    rows
}

#[derive(Serialize)]
pub(super) struct EvaluationReport<'a> {
    #[serde(flatten)]
    test: TestLine,
    images: u64,
    classes: Vec<ClassReport<'a>>,
    /// `confusion[truth][prediction]`.
    confusion: &'a [Vec<u64>],
}

#[derive(Serialize)]
struct ClassReport<'a> {
    class: &'a str,
    precision: f64,
    recall: f64,
    f1: f64,
    images: u64,
}

impl<'a> ClassReport<'a> {
    fn of((class, row): (&'a String, ClassRow)) -> ClassReport<'a> {
        let ClassRow { precision, recall, f1, support } = row;
        ClassReport { class, precision, recall, f1, images: support }
    }
}

/// All of an evaluation; shares are fractions.
pub(super) fn evaluation_report<'a>(
    evaluation: &'a Evaluation,
    classes: &'a [String],
) -> EvaluationReport<'a> {
    EvaluationReport {
        test: TestLine::from(evaluation),
        images: evaluation.confusion.iter().flatten().sum(),
        classes: classes.iter().zip(evaluation.classes()).map(ClassReport::of).collect(),
        confusion: &evaluation.confusion,
    }
}

/// All of an evaluation as JSON.
pub(super) fn evaluation_json(evaluation: &Evaluation, classes: &[String]) -> Result<String> {
    let report = evaluation_report(evaluation, classes);
    serde_json::to_string_pretty(&report).map_err(|error| Error::Data(error.to_string()))
}

/// A value as JSON in one line.
pub(super) fn line(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::Data(error.to_string()))
}
