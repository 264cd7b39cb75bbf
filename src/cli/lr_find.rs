use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, value_parser};

use super::args::ending;
use super::device;
use super::report::Column::Number;
use super::report::{say, table};
use super::train::Prepared;
use crate::error::{Error, Result};
use crate::files;
use crate::optim::{Curve, Schedule, Unit, Warmup};
use crate::report::{self, Series};
use crate::train::lr_find::{LrFinder, LrFinding, Point};
use crate::train::recipe::Recipe;
use crate::train::{Length, Observer, StepEvent};

/// Rows of the table.
const ROWS: usize = 20;
/// Steps that are queued beyond the last that counts: the run is stopped before its evaluation.
const SPARE: u32 = 8;

/// The arguments of `wgrad lr-find`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad lr-find --optimizer adamw --plot lr.svg")]
pub struct LrFindArgs {
    /// A recipe; its schedule is set aside
    #[arg(value_name = "RECIPE.toml")]
    pub recipe: Option<PathBuf>,
    /// The first learning rate
    #[arg(long, value_name = "X", default_value_t = 1e-6)]
    pub from: f64,
    /// The last learning rate
    #[arg(long, value_name = "X", default_value_t = 10.0)]
    pub to: f64,
    /// Steps between them
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = value_parser!(u32).range(2..=100_000))]
    pub points: u32,
    /// Draw the losses over the rates into this SVG file
    #[arg(long, value_name = "FILE.svg", value_parser = ending("svg"))]
    pub plot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The flags of `wgrad train`.
    #[command(flatten)]
    pub flags: Recipe,
}

/// `wgrad lr-find`
pub(super) fn run(args: &LrFindArgs) -> Result<()> {
    if !(args.from > 0.0 && args.from < args.to && (args.to as f32).is_finite()) {
        let message =
            format!("--from is {} and --to is {}; they must be above 0 and rise", args.from, args.to);
        return Err(Error::Recipe(message));
    }
    let gamma = (args.to / args.from).powf(1.0 / f64::from(args.points - 1));
    let finding = find(args, gamma)?;
    if let Some(path) = &args.plot {
        plot(&finding, path)?;
    }
    if args.json {
        say(serde_json::to_string_pretty(&finding).map_err(|error| Error::Model(error.to_string()))?);
        return Ok(());
    }
    print(&finding);
    if let Some(path) = &args.plot {
        say(format!("plot: {}", path.display()));
    }
    Ok(())
}

/// Trains with a rising rate; nothing of it remains.
fn find(args: &LrFindArgs, gamma: f64) -> Result<LrFinding> {
    let file = args.recipe.as_deref().map(Recipe::load).transpose()?;
    let mut recipe = Recipe::from_flags(args.flags.clone(), file).resolve()?;
    let curve = Curve::Exponential { gamma };
    recipe.schedule = Schedule { lr: args.from, warmup: Warmup::NONE, curve, unit: Unit::Step };
    recipe.length = Length::Steps(args.points + SPARE);
    recipe.control = Default::default();
    recipe.checkpoint_every = None;
    recipe.ema = None;
    recipe.quiet |= args.json;
    let cooperative = device::cooperative(recipe.cooperative, recipe.precision);
    let (device, _) = device::open_with_table(&recipe.device, cooperative)?;
    let prepared = Prepared::new(recipe, None)?;
    let mut trainer = prepared.started(&device)?;
    let stop = AtomicBool::new(false);
    let mut watch = Watch { finder: LrFinder::new(args.from, gamma), left: args.points, stop: &stop };
    let ended = pollster::block_on(trainer.train(&mut watch, &stop));
    match ended {
        Ok(_) | Err(Error::Interrupted { .. }) => Ok(watch.finder.finish(false)),
        Err(Error::NotFinite { .. }) => Ok(watch.finder.finish(true)),
        Err(error) => Err(error),
    }
}

/// Hands each loss to the finder, and stops the run when it has all that it needs.
struct Watch<'a> {
    finder: LrFinder,
    left: u32,
    stop: &'a AtomicBool,
}

impl Observer for Watch<'_> {
    fn step(&mut self, event: StepEvent) {
        let goes_on = self.left > 0 && self.finder.add(f64::from(event.loss));
        self.left = self.left.saturating_sub(1);
        if !goes_on || self.left == 0 {
            self.left = 0;
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

fn print(finding: &LrFinding) {
    let mut rows = table(&["learning rate", "loss", "smoothed"].map(Number));
    let every = finding.points.len().div_ceil(ROWS).max(1);
    for point in finding.points.iter().step_by(every) {
        let numbers = [point.loss, point.smoothed].map(|loss| format!("{loss:.4}"));
        rows.add_row([vec![format!("{:.2e}", point.lr)], numbers.to_vec()].concat());
    }
    say(rows);
    if let (true, Some(last)) = (finding.diverged, finding.points.last()) {
        say(format!("the loss diverges above {:.2e}", last.lr));
    }
    match (finding.suggestion, finding.lowest) {
        (Some(steepest), Some(lowest)) => {
            say(format!(
                "the loss falls fastest at {steepest:.2e} and is lowest at {lowest:.2e}: try --lr {steepest:.1e}"
            ));
        }
        _ => say("the loss never falls: try another range (--from, --to)"),
    }
}

/// Losses over rates as an SVG file, with the rate that is suggested.
fn plot(finding: &LrFinding, path: &Path) -> Result<()> {
    let points = |of: fn(&Point) -> f64| finding.points.iter().map(move |point| (point.lr, of(point)));
    let least = |a: f64, b: f64| if b < a { b } else { a };
    let low = points(|point| point.loss).map(|(_, loss)| loss).fold(f64::INFINITY, least);
    // Where it diverges, the loss is of no interest, and would press the rest flat: it runs along the edge.
    let high = finding.points.first().map_or(low, |point| low + 1.3 * (point.smoothed - low));
    let within = |of: fn(&Point) -> f64| points(of).map(move |(lr, loss)| (lr, least(loss, high)));
    let mark = finding.suggestion.map(|lr| Series::new(format!("--lr {lr:.1e}"), 2, [(lr, low), (lr, high)]));
    let curves = [
        Series::new("loss", 1, within(|point| point.loss)),
        Series::new("smoothed", 0, within(|point| point.smoothed)),
    ];
    let curves = curves.into_iter().chain(mark.map(Series::dashed)).collect();
    let svg = report::plot("Loss over learning rate", "learning rate", report::Unit::Number, curves)?;
    let svg = svg.ok_or_else(|| {
        Error::Recipe("there is nothing to plot: the first loss was not finite".to_string())
    })?;
    files::write_bytes(path, svg)
}
