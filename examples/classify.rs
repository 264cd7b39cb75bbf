//! Inference inside an application: a run is loaded once, its plans and buffers are used again for every picture.
//!
//! `cargo run --release --example classify -- runs/digits-cnn-1 picture.png ...`; without arguments it trains a network on the
//! embedded digits first and classifies some of them.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use wgrad::data::{DataSource, Dataset, Normalization};
use wgrad::models::ModelSpec;
use wgrad::train::control::Choice;
use wgrad::train::recipe::Recipe;
use wgrad::train::{Device, DeviceChoice, Predictor, Run, Settings, Trainer};

/// Trains the digits recipe for two epochs into a folder.
fn train(folder: &Path) -> wgrad::Result<Run> {
    let mut recipe = Recipe::digits();
    recipe.length.epochs = Some(2);
    let recipe = recipe.resolve()?;
    let data = Dataset::load(&DataSource::Digits, 0, &|_, _| {})?;
    let model = ModelSpec::load(&recipe.model)?.bind(data.image, data.classes.len())?;
    let run = Run::create(folder)?;
    run.write_recipe(&recipe.to_toml()?, model.to_toml().unwrap_or_default())?;
    let (settings, normalization) = (Settings::of(&recipe, 64), Normalization::of(&data.train)?);
    let mut trainer = pollster::block_on(Trainer::new(&model, &data, normalization, settings, &Device::Cpu))?;
    pollster::block_on(trainer.record_in(run.clone()))?;
    pollster::block_on(trainer.train(&mut (), &AtomicBool::new(false)))?;
    Ok(run)
}

/// Classifies the pictures of files, one after the other, as an application would that gets them so.
fn classify_files(predictor: &mut Predictor, files: &[PathBuf]) -> wgrad::Result<()> {
    let about = predictor.about().clone();
    for file in files {
        let picture = about.read_image(file)?;
        let logits = pollster::block_on(predictor.logits(&picture.pixels))?;
        let best = &about.top(&logits, 1)[0];
        println!("{}: {} ({:.1} %)", file.display(), best.class, best.probability * 100.0);
    }
    Ok(())
}

/// Classifies the test digits one by one, and gives the share that is right.
pub fn classify_digits(predictor: &mut Predictor) -> wgrad::Result<f64> {
    let about = predictor.about().clone();
    let data = Dataset::load(&DataSource::Digits, 0, &|_, _| {})?;
    let (mut right, began) = (0, Instant::now());
    for (sample, label) in data.test.labels().iter().enumerate() {
        let pixels = data.test.pixels(&[sample as u32], about.normalization.as_ref())?;
        let logits = pollster::block_on(predictor.logits(&pixels))?;
        right += usize::from(about.top(&logits, 1)[0].class == about.classes[*label as usize]);
    }
    let (count, time) = (data.test.len(), began.elapsed());
    println!("{right} of {count} are right; {:.0} us each", time.as_secs_f64() * 1e6 / count as f64);
    Ok(right as f64 / count as f64)
}

/// A run that is trained in a folder, ready to classify.
pub fn trained_predictor(folder: &Path) -> wgrad::Result<Predictor> {
    let run = train(&folder.join("run"))?;
    pollster::block_on(Predictor::open(&run, Choice::Last, &Device::Cpu, 1))
}

/// Classifies what the command line names, or digits.
pub fn main() -> wgrad::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(run) = arguments.next() else {
        let folder = std::env::temp_dir().join(format!("wgrad-classify-{}", std::process::id()));
        let result = trained_predictor(&folder).and_then(|mut predictor| classify_digits(&mut predictor));
        // What is left behind in the folder for temporary files harms nobody.
        let _ = std::fs::remove_dir_all(&folder);
        return result.map(drop);
    };
    let device = pollster::block_on(Device::open(&DeviceChoice::Auto))?;
    let mut predictor = pollster::block_on(Predictor::open(&Run::open(&run)?, Choice::Last, &device, 1))?;
    classify_files(&mut predictor, &arguments.collect::<Vec<_>>())
}
