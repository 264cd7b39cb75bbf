use std::path::Path;

use serde::Serialize;

use super::PredictArgs;
use super::device;
use super::report::{align_numbers, say, table};
use crate::error::{Error, Result};
use crate::train::{Guess, Predictor, Run, RunModel};

/// Images that are computed at once.
const BATCH: usize = 16;

#[derive(Serialize)]
struct Prediction {
    image: String,
    top: Vec<Guess>,
}

/// `wgrad predict`
pub(super) fn run(args: &PredictArgs) -> Result<()> {
    let run = Run::open(&args.run)?;
    let device = device::open(&args.device, false)?;
    let most = args.images.len().min(BATCH);
    let mut predictor = pollster::block_on(Predictor::open(&run, args.checkpoint, &device, most))?;
    let about = predictor.about().clone();
    let mut predictions = vec![];
    for images in args.images.chunks(most) {
        let pixels = read_batch(images, &about)?;
        let logits = pollster::block_on(predictor.logits(&pixels))?;
        for (image, logits) in images.iter().zip(logits.chunks_exact(about.classes.len())) {
            let top = about.top(logits, args.top as usize);
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

fn read_batch(images: &[impl AsRef<Path>], about: &RunModel) -> Result<Vec<f32>> {
    let mut pixels = vec![];
    for path in images {
        let image = about.read_image(path.as_ref())?;
        if let Some([height, width]) = image.resized_from {
            let [_, h, w] = about.image;
            eprintln!("note: {} is {height}x{width}, resized to {h}x{w}", path.as_ref().display());
        }
        pixels.extend(image.pixels);
    }
    Ok(pixels)
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
