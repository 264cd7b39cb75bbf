use std::path::Path;

use serde::Serialize;

use super::PredictArgs;
use super::device;
use super::eval::{load, task};
use super::report::{align_numbers, say, table};
use crate::data::read_image;
use crate::error::{Error, Result};
use crate::graph::Step;
use crate::plan::Data;
use crate::train::{Run, RunModel, Session, program};

/// Images that are computed at once.
const BATCH: usize = 16;

#[derive(Serialize)]
struct Prediction {
    image: String,
    top: Vec<Guess>,
}

#[derive(Serialize)]
struct Guess {
    class: String,
    probability: f64,
}

/// `wgrad predict`
pub(super) fn run(args: &PredictArgs) -> Result<()> {
    let run = Run::open(&args.run)?;
    let (about, model, weights) = run.read_chosen(args.checkpoint)?;
    let device = device::open(&args.device, false)?;
    let batch_size = args.images.len().min(BATCH);
    let program = program::inference(&model, &task(&about, batch_size), &device)?;
    let mut session = pollster::block_on(load(program, &weights, &device, &run))?;
    let mut predictions = vec![];
    for images in args.images.chunks(batch_size) {
        let pixels = read_batch(images, &about, batch_size)?;
        let logits = pollster::block_on(logits(&mut session, &pixels, batch_size))?;
        for (image, logits) in images.iter().zip(logits.chunks_exact(about.classes.len())) {
            let top = top(logits, &about.classes, args.top as usize);
            predictions.push(Prediction { image: image.display().to_string(), top });
        }
    }
    if args.json {
        let text =
            serde_json::to_string_pretty(&predictions).map_err(|error| Error::Data(error.to_string()))?;
        say(text);
    } else {
        print(&predictions);
    }
    Ok(())
}

fn read_batch(images: &[impl AsRef<Path>], about: &RunModel, batch_size: usize) -> Result<Vec<f32>> {
    let mut pixels = vec![];
    for path in images {
        let mut image = read_image(path, about.image)?;
        if let Some([height, width]) = image.resized_from {
            let [_, h, w] = about.image;
            eprintln!("note: {} is {height}x{width}, resized to {h}x{w}", path.as_ref().display());
        }
        if let Some(normalization) = &about.normalization {
            normalization.apply(&mut image.pixels, about.image[0])?;
        }
        pixels.extend(image.pixels);
    }
    pixels.resize(batch_size * about.image.iter().product::<usize>(), 0.0);
    Ok(pixels)
}

async fn logits(session: &mut Session, pixels: &[f32], batch_size: usize) -> Result<Vec<f32>> {
    let labels = vec![crate::data::IGNORE_INDEX; batch_size];
    session.submit(0, &[("images", Data::Real(pixels)), ("labels", Data::Int(&labels))], &Step::default())?;
    let finished = session.collect(0).await?;
    Ok(finished.and_then(|mut finished| finished.outputs.remove("logits")).unwrap_or_default())
}

/// The most probable classes, by softmax.
fn top(logits: &[f32], classes: &[String], count: usize) -> Vec<Guess> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
    let weights: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut order: Vec<usize> = (0..classes.len()).collect();
    order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
    let guess = |class: usize| Guess { class: classes[class].clone(), probability: weights[class] / sum };
    order.into_iter().take(count).map(guess).collect()
}

fn print(predictions: &[Prediction]) {
    let mut rows = table(&["image", "class", "probability %"]);
    for prediction in predictions {
        for (place, guess) in prediction.top.iter().enumerate() {
            let image = if place == 0 { prediction.image.as_str() } else { "" };
            rows.add_row([image, guess.class.as_str(), &format!("{:.2}", guess.probability * 100.0)]);
        }
    }
    align_numbers(&mut rows);
    say(rows);
}
