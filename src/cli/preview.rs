use std::path::{Path, PathBuf};

use clap::{Args, value_parser};
use image::RgbImage;

use super::args::ending;
use super::contact_sheet::{self, Cell};
use super::device;
use super::report::{say, write_png};
use super::train::load_data;
use crate::data::{DataSource, epoch_order};
use crate::error::Result;
use crate::train::recipe::{AugmentSettings, DeviceChoice, InputSettings, Recipe, RunSettings};
use crate::train::{Picture, Preview, PreviewSettings, preview};

/// The arguments of `wgrad preview`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(
    after_help = "Example:\n  wgrad preview folder:pets --image-size 64 --horizontal-flip 0.5 --degrees 15"
)]
pub struct PreviewArgs {
    /// The data set: digits, mnist:DIR, fashion-mnist:DIR, cifar10:DIR, cifar100:DIR, folder:DIR or
    /// tensors:FILE.safetensors [default: the recipe's, or digits]
    #[arg(value_name = "DATA")]
    pub data: Option<DataSource>,
    /// The recipe whose augmentation is shown; flags come before it
    #[arg(long, value_name = "RECIPE.toml")]
    pub recipe: Option<PathBuf>,
    /// Write the sheet to this PNG file
    #[arg(long, value_name = "FILE.png", default_value = "preview.png", value_parser = ending("png"))]
    pub out: PathBuf,
    /// Samples, one to a row
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u32).range(1..=100))]
    pub images: u32,
    /// Epochs, one to a column
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..=50))]
    pub epochs: u32,
    /// Seed of the run that is shown [default: the recipe's, or 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Where to compute: auto, cpu, gpu, or an index or a name from `wgrad devices`
    #[arg(long, default_value = "cpu")]
    pub device: DeviceChoice,
    /// folder: as in `wgrad train`
    #[arg(long, value_name = "PIXELS")]
    pub image_size: Option<u32>,
    /// folder: as in `wgrad train`
    #[arg(long, value_name = "PIXELS")]
    pub resize_size: Option<u32>,
    /// folder: leave out pictures that cannot be read
    #[arg(long)]
    pub skip_bad: bool,
    /// The augmentation flags of `wgrad train`.
    #[command(flatten)]
    pub augment: AugmentSettings,
}

/// `wgrad preview`
pub(super) fn run(args: &PreviewArgs) -> Result<()> {
    let file = args.recipe.as_deref().map(Recipe::load).transpose()?;
    let recipe = flags(args).over(file.unwrap_or_default()).resolve()?;
    let data = load_data(&recipe.data, &recipe.load_options(), false)?;
    let order = epoch_order(data.train.len(), recipe.seed, recipe.shuffle, 0);
    let settings = PreviewSettings {
        augmentation: recipe.augmentation,
        mixing: recipe.mixing,
        normalize: recipe.normalize,
        seed: recipe.seed,
        samples: order.into_iter().take(args.images as usize).collect(),
        epochs: (0..args.epochs).collect(),
    };
    let device = device::open(&args.device, false)?;
    let shown = pollster::block_on(preview(&data, &settings, &device))?;
    write(&shown, &data.classes, &args.out)?;
    if recipe.augment == AugmentSettings::default() {
        eprintln!(
            "note: nothing is done to the samples; give augmentation flags or a --recipe with [augment]"
        );
    }
    let (images, epochs) = (shown.rows.len(), args.epochs);
    say(format!("{images} training samples in {epochs} epochs: {}", args.out.display()));
    Ok(())
}

/// What the arguments say as settings of a recipe.
fn flags(args: &PreviewArgs) -> Recipe {
    let PreviewArgs { data, image_size, resize_size, skip_bad, seed, augment, .. } = args.clone();
    let skip_bad = Some(true).filter(|_| skip_bad);
    Recipe {
        input: InputSettings { data, image_size, resize_size, skip_bad, ..Default::default() },
        run: RunSettings { seed, ..Default::default() },
        augment,
        ..Default::default()
    }
}

fn write(shown: &Preview, classes: &[String], path: &Path) -> Result<()> {
    let epochs = shown.rows.first().map_or(1, Vec::len);
    let headings: Vec<String> = (0..epochs)
        .map(|epoch| if epoch == 0 { "original".to_string() } else { format!("epoch {epoch}") })
        .collect();
    let cell = |picture: &Picture| Cell {
        picture: coloured(picture, shown.channels),
        lines: lines(picture, classes),
    };
    let rows: Vec<Vec<Cell>> = shown.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    write_png(path, &contact_sheet::draw(&headings, &rows))
}

/// A class's name, or several with their shares.
fn lines(picture: &Picture, classes: &[String]) -> Vec<String> {
    let name = |class: usize| classes.get(class).map_or("?", String::as_str);
    match picture.labels[..] {
        [(class, _)] => vec![name(class).to_string()],
        ref several => {
            several.iter().map(|(class, share)| format!("{:.2} {}", share, name(*class))).collect()
        }
    }
}

fn coloured(picture: &Picture, channels: usize) -> RgbImage {
    let [height, width] = picture.size;
    let pixel = |place: usize| {
        let pixel = &picture.pixels[place * channels..][..channels];
        image::Rgb(if channels == 3 { [pixel[0], pixel[1], pixel[2]] } else { [pixel[0]; 3] })
    };
    RgbImage::from_fn(width as u32, height as u32, |x, y| pixel(y as usize * width + x as usize))
}
