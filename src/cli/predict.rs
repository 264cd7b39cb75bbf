use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, value_parser};
use rayon::prelude::*;
use serde::Serialize;

use super::args::{TtaArgs, WeightsArgs};
use super::device;
use super::explain::Explanations;
use super::pictures::pictures;
use super::report::Column::{Number, Text};
use super::report::{bar, say, table};
use crate::data::ReadImage;
use crate::error::{Error, Result};
use crate::train::recipe::DeviceChoice;
use crate::train::{Guess, Predictor, Run, RunModel};

/// Images that are computed at once.
const BATCH: usize = 32;

/// The arguments of `wgrad predict`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(
    after_help = "Example:\n  wgrad predict runs/pets cat.jpg more-pictures 'album/*.png' --top 2 --explain why"
)]
pub struct PredictArgs {
    /// The folder of the run
    pub run: PathBuf,
    /// Image files (PNG, JPEG, BMP, GIF, WebP, PNM or TIFF), folders of them, or patterns such as 'album/**/*.png'
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Which weights
    #[command(flatten)]
    pub weights: WeightsArgs,
    /// Views of an image
    #[command(flatten)]
    pub tta: TtaArgs,
    /// How many classes to name for each image, the most probable first
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    pub top: u32,
    /// How to print: table, json or csv
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_possible_values = true)]
    pub format: Format,
    /// Print JSON: --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Name images that cannot be read, and go on with the others
    #[arg(long)]
    pub skip_bad: bool,
    /// Write each image into this folder, with what speaks for its most probable class in red
    #[arg(long, value_name = "DIR")]
    pub explain: Option<PathBuf>,
    /// Where to compute: auto, cpu, gpu, or an index or a name from `wgrad devices`
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
}

/// How predictions are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people.
    Table,
    /// A list of objects with an image's name and its classes.
    Json,
    /// A line for each class of each image.
    Csv,
}

/// What is said of an image.
#[derive(Serialize)]
struct Prediction {
    image: String,
    top: Vec<Guess>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<String>,
}

/// `wgrad predict`
pub(super) fn run(args: &PredictArgs) -> Result<()> {
    let format = if args.json { Format::Json } else { args.format };
    let run = Run::open(&args.run)?;
    let images = pictures(&args.images)?;
    let (about, model, weights) = args.weights.read(&run)?;
    let device = device::open(&args.device, false)?;
    let explanations = args
        .explain
        .as_deref()
        .map(|folder| Explanations::new(folder, (&about, &model, &weights), &run, &device));
    let mut explanations = explanations.transpose()?;
    let model = args.tta.averaging(model, &run)?;
    let most = images.len().min(BATCH);
    let mut predictor = pollster::block_on(Predictor::of((&about, &model, &weights), &run, &device, most))?;
    let bar = bar(images.len() as u64, "{wide_bar} {pos}/{len} images  {per_sec}  ETA {eta}", false);
    let mut reading = Reading { about: &about, skip_bad: args.skip_bad, skipped: 0, resized: vec![] };
    let mut predictions = vec![];
    for paths in images.chunks(BATCH) {
        let read = bar.suspend(|| reading.batch(paths))?;
        let pixels: Vec<f32> = read.iter().flat_map(|(_, image)| &image.pixels).copied().collect();
        let logits = pollster::block_on(predictor.logits(&pixels))?;
        for ((path, image), logits) in read.iter().zip(logits.chunks_exact(about.classes.len())) {
            let top = about.top(logits, args.top as usize);
            let explanation = match &mut explanations {
                None => None,
                Some(explanations) => {
                    Some(explanations.write(&mut predictor, path, &image.pixels, logits)?)
                }
            };
            let explanation = explanation.map(|path| path.display().to_string());
            predictions.push(Prediction { image: path.display().to_string(), top, explanation });
        }
        bar.inc(paths.len() as u64);
    }
    bar.finish_and_clear();
    reading.conclude(predictions.len())?;
    match format {
        Format::Table => print(&predictions),
        Format::Json => {
            say(serde_json::to_string_pretty(&predictions).map_err(|error| Error::Data(error.to_string()))?);
        }
        Format::Csv => print_csv(&predictions)?,
    }
    Ok(())
}

/// Reads images, and remembers what there is to say of them.
struct Reading<'a> {
    about: &'a RunModel,
    skip_bad: bool,
    skipped: usize,
    /// Images of another size than the network's: a sentence on each.
    resized: Vec<String>,
}

impl Reading<'_> {
    /// The images of some files, read on all cores, without those that are left out.
    fn batch<'p>(&mut self, paths: &'p [PathBuf]) -> Result<Vec<(&'p Path, ReadImage)>> {
        let read: Vec<_> =
            paths.par_iter().map(|path| (path.as_path(), self.about.read_image(path))).collect();
        let mut images = vec![];
        for (path, image) in read {
            match image {
                Ok(image) => {
                    let [_, h, w] = self.about.image;
                    self.resized.extend(image.resized_from.map(|[height, width]| {
                        format!("{} is {height}x{width}, resized to {h}x{w}", path.display())
                    }));
                    images.push((path, image));
                }
                Err(error) if self.skip_bad => {
                    eprintln!("warning: left out: {error}");
                    self.skipped += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(images)
    }

    /// Says what there is to say; fails if nothing could be read.
    fn conclude(&self, images: usize) -> Result<()> {
        match &self.resized[..] {
            [] => {}
            [one] => eprintln!("note: {one}"),
            [first, others @ ..] => eprintln!("note: {first}, and {} others alike", others.len()),
        }
        if self.skipped > 0 {
            eprintln!("warning: {} of {} images could not be read", self.skipped, images + self.skipped);
        }
        if images == 0 {
            return Err(Error::Data("no image could be read".to_string()));
        }
        Ok(())
    }
}

fn print(predictions: &[Prediction]) {
    let explains = predictions.iter().any(|prediction| prediction.explanation.is_some());
    let header = [Text("image"), Text("class"), Number("probability %"), Text("explanation")];
    let mut rows = table(&header[..if explains { 4 } else { 3 }]);
    for prediction in predictions {
        for (place, guess) in prediction.top.iter().enumerate() {
            let first = |text: &str| if place == 0 { text.to_string() } else { String::new() };
            let mut row = vec![
                first(&prediction.image),
                guess.class.clone(),
                format!("{:.2}", guess.probability * 100.0),
            ];
            row.extend(prediction.explanation.as_deref().map(first));
            rows.add_row(row);
        }
    }
    say(rows);
}

/// A line for each class of each image, the most probable first.
#[derive(Serialize)]
struct CsvLine<'a> {
    image: &'a str,
    rank: usize,
    class: &'a str,
    probability: f64,
    explanation: &'a str,
}

fn print_csv(predictions: &[Prediction]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(vec![]);
    for Prediction { image, top, explanation } in predictions {
        for (rank, Guess { class, probability }) in (1..).zip(top) {
            let explanation = explanation.as_deref().unwrap_or_default();
            let line = CsvLine { image, rank, class, probability: *probability, explanation };
            writer.serialize(line).map_err(|error| Error::Data(error.to_string()))?;
        }
    }
    let text = writer.into_inner().map_err(|error| Error::Data(error.to_string()))?;
    // Nobody is left to tell if standard output is closed.
    let _ = std::io::stdout().write_all(&text);
    Ok(())
}
