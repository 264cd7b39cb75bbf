//! `report.html`: one file that needs nothing else. All text is escaped by the template engine; what is drawn is drawn by
//! the templates from numbers; a policy in the page itself forbids scripts and requests.

use indexmap::IndexMap;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::chart::{Chart, Series, Unit, chart, short};
use super::picture;
use super::record::{EvaluationRow, Record};
use crate::data::{Images, Split};
use crate::error::{Error, Result};
use crate::plan::{KernelTime, MemoryUse};
use crate::train::Evaluation;
use crate::train::weights::Tensors;

/// Mistakes that are shown.
const MISTAKES: usize = 24;
/// Classes whose confusions fit in a table of numbers.
const TABLE: usize = 24;
/// Pairs of classes that are listed beside a matrix of shades.
const PAIRS: usize = 20;
/// Kernels that are listed.
const KERNELS: usize = 20;

/// What is known of a run besides what its folder says by itself; everything may be missing.
#[derive(Default)]
pub struct Findings<'a> {
    /// Class names.
    pub classes: &'a [String],
    /// How well the network does.
    pub evaluation: Option<&'a Evaluation>,
    /// The samples of that evaluation.
    pub test: Option<&'a Split>,
    /// Parameters and running statistics.
    pub model: Option<&'a Tensors>,
    /// The time of each kernel of a step.
    pub kernels: &'a [KernelTime],
    /// What a training step allocates on the device, or would on a GPU.
    pub memory: Option<MemoryUse>,
    /// The device of evaluation and kernels.
    pub device: Option<String>,
    /// What is said at the top of the page, such as why something is missing.
    pub notes: Vec<String>,
}

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    version: &'static str,
    notes: Vec<&'a String>,
    facts: Vec<Fact>,
    charts: Vec<Chart>,
    classes: Vec<ClassRow>,
    confusion: Option<Confusion>,
    mistakes: Vec<Mistake>,
    wrong: u64,
    filters: Option<Filters>,
    kernels: Vec<KernelRow>,
    memory: Vec<MemoryRow>,
    recipe: &'a str,
    command: String,
}

/// A figure with its name.
#[derive(Serialize)]
pub(super) struct Fact {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct ClassRow {
    name: String,
    precision: String,
    recall: String,
    f1: String,
    images: u64,
}

#[derive(Serialize)]
struct Confusion {
    names: Vec<String>,
    /// Counts with their share of the row; empty if there are too many classes.
    rows: Vec<Vec<(u64, String)>>,
    /// The matrix as a picture, if there are too many classes.
    picture: Option<String>,
    /// Truth, prediction, count.
    pairs: Vec<(String, String, u64)>,
}

#[derive(Serialize)]
struct Mistake {
    picture: String,
    truth: String,
    guess: String,
    confidence: String,
    sample: String,
}

#[derive(Serialize)]
struct Filters {
    name: String,
    picture: String,
    width: u32,
}

#[derive(Serialize)]
struct KernelRow {
    name: String,
    count: usize,
    ms: String,
    share: f64,
    gflop_per_s: String,
    gb_per_s: String,
}

#[derive(Serialize)]
struct MemoryRow {
    name: &'static str,
    mib: String,
    share: f64,
}

/// The page of one run.
pub fn page(record: &Record, findings: &Findings<'_>) -> Result<String> {
    let evaluation = findings.evaluation;
    let page = Page {
        title: &record.name,
        version: env!("CARGO_PKG_VERSION"),
        notes: record.warnings.iter().chain(&findings.notes).collect(),
        facts: facts(record, findings),
        charts: charts(record),
        classes: evaluation.map_or_else(Vec::new, |evaluation| class_rows(evaluation, findings.classes)),
        confusion: evaluation.map(|evaluation| confusion(evaluation, findings.classes)).transpose()?,
        mistakes: mistakes(findings)?,
        wrong: evaluation.map_or(0, wrong),
        filters: filters(findings)?,
        kernels: kernel_rows(findings.kernels),
        memory: findings.memory.map_or_else(Vec::new, memory_rows),
        recipe: &record.recipe,
        command: command(record),
    };
    render("report.html", &page)
}

/// Renders a template with everything in it escaped.
pub(super) fn render(name: &str, context: &impl Serialize) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let templates = [
        ("base.html", include_str!("templates/base.html")),
        ("chart.html", include_str!("templates/chart.html")),
        ("compare.html", include_str!("templates/compare.html")),
        ("network.svg", include_str!("templates/network.svg")),
        ("plot.svg", include_str!("templates/plot.svg")),
        ("report.html", include_str!("templates/report.html")),
    ];
    let rendered = (|| {
        for (name, text) in templates {
            environment.add_template(name, text)?;
        }
        environment.get_template(name)?.render(minijinja::value::Serde(context))
    })();
    rendered.map_err(|error: minijinja::Error| Error::Data(format!("the page cannot be made: {error:#}")))
}

/// The command that trains the same again.
pub(super) fn command(record: &Record) -> String {
    let quoted = |path: String| {
        let plain = |letter: char| letter.is_alphanumeric() || "/._-".contains(letter);
        if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
    };
    let recipe = quoted(record.path.join("recipe.toml").display().to_string());
    let out = quoted(format!("{}-again", record.path.display()));
    format!("wgrad train {recipe} --out {out}")
}

fn facts(record: &Record, findings: &Findings<'_>) -> Vec<Fact> {
    let mut facts = vec![];
    let mut add = |name, value: Option<String>| facts.extend(value.map(|value| Fact { name, value }));
    let last = record.last();
    let accuracy = findings.evaluation.map(|evaluation| evaluation.accuracy);
    let accuracy = accuracy.or(last.map(|row| row.test_accuracy));
    let loss = findings.evaluation.map(|evaluation| evaluation.loss).or(last.map(|row| row.test_loss));
    add("test accuracy", accuracy.map(percent));
    add("test loss", loss.map(short));
    if let Some(evaluation) = findings.evaluation {
        add("top-5 accuracy", (findings.classes.len() > 5).then(|| percent(evaluation.top5_accuracy)));
        add("mean F1", Some(percent(evaluation.macro_f1())));
        add("calibration error", Some(percent(evaluation.ece)));
    }
    let best = record.best();
    add("best", best.map(|row| format!("{} after {} epochs", percent(row.test_accuracy), short(row.epochs))));
    add("epochs", last.map(|row| short(row.epochs)));
    add("images/s in training", record.throughput().map(|rate| format!("{rate:.0}")));
    let parameters =
        findings.model.map(|model| model.values().map(|tensor| tensor.data.len()).sum::<usize>());
    add("parameters and statistics", parameters.map(|count| count.to_string()));
    let setting = |key| Some(record.setting(key).to_string()).filter(|text| !text.is_empty());
    add("model", setting("model"));
    add("data", setting("data"));
    add("device", findings.device.clone());
    facts
}

pub(super) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.2} %", share * 100.0) } else { "-".to_string() }
}

fn charts(record: &Record) -> Vec<Chart> {
    let of = |value: fn(&EvaluationRow) -> f64| {
        record.evaluations.iter().map(move |row| (row.epochs, value(row))).collect::<Vec<_>>()
    };
    let steps = |value: fn(&super::record::StepRow) -> f64| {
        record.steps.iter().map(move |row| (row.step as f64, value(row))).collect::<Vec<_>>()
    };
    let loss = vec![
        Series::new("training", 0, of(|row| row.train_loss)),
        Series::new("test", 1, of(|row| row.test_loss)),
        Series::new("test, averaged weights", 2, of(|row| row.ema_loss)),
    ];
    let accuracy = vec![
        Series::new("training", 0, of(|row| row.train_accuracy)),
        Series::new("test", 1, of(|row| row.test_accuracy)),
        Series::new("test, averaged weights", 2, of(|row| row.ema_accuracy)),
    ];
    let of_steps = |title: &str, unit, value| {
        chart(title, "step", unit, vec![Series::new(title.to_lowercase(), 0, steps(value))])
    };
    let charts = [
        chart("Loss", "epoch", Unit::Magnitude, loss),
        chart("Accuracy", "epoch", Unit::Percent, accuracy),
        of_steps("Loss of single steps", Unit::Magnitude, |row| row.loss),
        of_steps("Learning rate", Unit::Number, |row| row.lr),
        of_steps("Images per second", Unit::Number, |row| row.img_per_s),
        of_steps("Gradient norm", Unit::Magnitude, |row| row.grad_norm),
        of_steps("Loss scale", Unit::Magnitude, |row| row.loss_scale),
    ];
    charts.into_iter().flatten().collect()
}

fn name(classes: &[String], class: usize) -> String {
    classes.get(class).cloned().unwrap_or_else(|| class.to_string())
}

fn class_rows(evaluation: &Evaluation, classes: &[String]) -> Vec<ClassRow> {
    let rows = evaluation.classes().into_iter().enumerate();
    rows.map(|(class, row)| ClassRow {
        name: name(classes, class),
        precision: percent(row.precision),
        recall: percent(row.recall),
        f1: percent(row.f1),
        images: row.support,
    })
    .collect()
}

fn confusion(evaluation: &Evaluation, classes: &[String]) -> Result<Confusion> {
    let counts = &evaluation.confusion;
    let fits = counts.len() <= TABLE;
    let shares = |row: &Vec<u64>| {
        let sum = row.iter().sum::<u64>().max(1) as f64;
        row.iter().map(|&count| (count, format!("{:.3}", count as f64 / sum))).collect()
    };
    let pairs = evaluation.confusions().into_iter().take(PAIRS);
    Ok(Confusion {
        names: (0..counts.len()).map(|class| name(classes, class)).collect(),
        rows: if fits { counts.iter().map(shares).collect() } else { vec![] },
        picture: (!fits).then(|| picture::matrix(counts)).transpose()?.map(|picture| picture.data_uri()),
        pairs: pairs
            .map(|(truth, guess, count)| (name(classes, truth), name(classes, guess), count))
            .collect(),
    })
}

fn wrong(evaluation: &Evaluation) -> u64 {
    let right: u64 = (0..evaluation.confusion.len()).map(|class| evaluation.confusion[class][class]).sum();
    evaluation.confusion.iter().flatten().sum::<u64>() - right
}

/// The mistakes that the network was most sure of.
fn mistakes(findings: &Findings<'_>) -> Result<Vec<Mistake>> {
    let (Some(evaluation), Some(test)) = (findings.evaluation, findings.test) else { return Ok(vec![]) };
    let mut wrong: Vec<(usize, usize, f64)> = vec![];
    for (sample, &label) in test.labels().iter().enumerate() {
        let guess = evaluation.prediction(sample);
        if usize::try_from(label) != Ok(guess) {
            wrong.push((sample, guess, evaluation.confidence(sample)));
        }
    }
    wrong.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    let shown = wrong.into_iter().take(MISTAKES).map(|(sample, guess, confidence)| {
        let truth = usize::try_from(test.labels()[sample]).unwrap_or(usize::MAX);
        Ok(Mistake {
            picture: picture::sample(test, sample as u32)?.data_uri(),
            truth: name(findings.classes, truth),
            guess: name(findings.classes, guess),
            confidence: percent(confidence),
            sample: match test.images() {
                Images::Files(paths) => paths[sample].display().to_string(),
                _ => format!("test image {sample}"),
            },
        })
    });
    shown.collect()
}

fn filters(findings: &Findings<'_>) -> Result<Option<Filters>> {
    let found = findings.model.and_then(picture::filters).transpose()?;
    Ok(found.map(|(name, picture)| Filters {
        name,
        picture: picture.data_uri(),
        width: (picture.width * 8).min(960),
    }))
}

fn kernel_rows(kernels: &[KernelTime]) -> Vec<KernelRow> {
    let mut groups: IndexMap<&str, Vec<&KernelTime>> = IndexMap::new();
    for kernel in kernels {
        groups.entry(&kernel.kernel).or_default().push(kernel);
    }
    let total: f64 = kernels.iter().map(|kernel| kernel.seconds).sum();
    let mut rows: Vec<(f64, KernelRow)> = vec![];
    for (name, kernels) in groups {
        let seconds: f64 = kernels.iter().map(|kernel| kernel.seconds).sum();
        let rate = |count: u64| {
            if count > 0 && seconds > 0.0 {
                format!("{:.1}", count as f64 / seconds / 1e9)
            } else {
                String::new()
            }
        };
        let row = KernelRow {
            name: name.to_string(),
            count: kernels.len(),
            ms: format!("{:.3}", seconds * 1e3),
            share: if total > 0.0 { (seconds / total * 1e3).round() / 10.0 } else { 0.0 },
            gflop_per_s: rate(kernels.iter().map(|kernel| kernel.flops).sum()),
            gb_per_s: rate(kernels.iter().map(|kernel| kernel.bytes).sum()),
        };
        rows.push((seconds, row));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    rows.into_iter().map(|(_, row)| row).take(KERNELS).collect()
}

fn memory_rows(memory: MemoryUse) -> Vec<MemoryRow> {
    let total = memory.total();
    let row = |name, bytes: u64| MemoryRow {
        name,
        mib: format!("{:.2}", bytes as f64 / 1048576.0),
        share: (bytes as f64 / total.max(1) as f64 * 1e3).round() / 10.0,
    };
    vec![
        row("parameters", memory.parameters),
        row("gradients", memory.gradients),
        row("optimizer", memory.optimizer),
        row("statistics", memory.statistics),
        row("activations", memory.activations),
        row("data", memory.data),
        row("other", memory.other),
        row("in all", total),
    ]
}
