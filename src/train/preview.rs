//! What training samples look like after augmentation, for `wgrad preview`.

use std::sync::Arc;

use super::augmented::TrainFeed;
use super::device::Device;
use super::feed::Feed;
use super::program::Task;
use super::recipe::Precision;
use super::session::Session;
use crate::augment::{Augmentation, Mixing};
use crate::data::{Batch, Dataset, Images, Normalization, Order, Split};
use crate::error::{Error, Result};
use crate::graph::{Graph, Mode, Step};
use crate::plan::Program;
use crate::tensor::DType;

/// A share of a class that is too small to be named.
const UNNAMED: f32 = 0.005;

/// Which samples are shown, and what is done to them.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviewSettings {
    /// What is done to each sample.
    pub augmentation: Augmentation,
    /// How they are mixed: each with its neighbour in `samples`.
    pub mixing: Mixing,
    /// Whether pixels are normalised on the way, so that what is erased becomes the mean.
    pub normalize: bool,
    /// Seed of the run.
    pub seed: u64,
    /// Numbers of samples of the training split.
    pub samples: Vec<u32>,
    /// The epochs, from 0, in which they are shown.
    pub epochs: Vec<u32>,
}

/// A picture, and what it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Height and width.
    pub size: [usize; 2],
    /// Grey (1 byte a pixel) or colour (3), rows from the top.
    pub pixels: Vec<u8>,
    /// Classes with their shares of the target, the largest first.
    pub labels: Vec<(usize, f32)>,
}

/// Training samples as they are and as training sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Bytes of a pixel: 1 for grey pictures, 3 for colour.
    pub channels: usize,
    /// For each sample the picture as it is stored, then one for each epoch.
    pub rows: Vec<Vec<Picture>>,
}

/// Shows training samples: what the device makes of them in these epochs is exactly what a run with this seed trains on,
/// except that samples are mixed with their neighbours here.
///
/// Images of f32 are shown from their darkest to their brightest value; of images of neither 1 nor 3 channels only the
/// first is shown, or the first three.
///
/// # Errors
/// If the data cannot be augmented so (see [`TrainFeed::new`]), or an image cannot be read.
pub async fn preview(data: &Dataset, settings: &PreviewSettings, device: &Device) -> Result<Preview> {
    let split = data.train.subset(&settings.samples)?;
    let normalization = if settings.normalize { Normalization::of(&split)? } else { None };
    let scale = Scale::of(&split, normalization)?;
    let task = Task {
        image: data.image,
        classes: data.classes.len(),
        batch_size: split.len(),
        label_smoothing: 0.0,
        precision: Precision::F32,
    };
    let stored = if matches!(split.images(), Images::F32(_)) { DType::F32 } else { DType::U8 };
    let (source, done) = (Feed::Streamed { stored }, (settings.augmentation, settings.mixing));
    let feed = TrainFeed::new(source, done, &split, &task, settings.seed)?;
    let mut graph = Graph::new(Mode::Train);
    let fed = feed.build(&mut graph, &task)?;
    graph.output("images", fed.images);
    if settings.mixing.is_on() {
        graph.output("targets", fed.targets);
    }
    let program = Program::new(vec![graph], None, device.max_page_bytes())?;
    let mut session = Session::new(device, Arc::new(program)).await?;
    source.install(&mut session, &split, scale.normalization.as_ref()).await?;

    let all: Vec<u32> = (0..split.len() as u32).collect();
    let originals = scale.pictures(&split.pixels(&all, None)?, false, split.image(), split.labels());
    let mut rows: Vec<Vec<Picture>> = originals.into_iter().map(|picture| vec![picture]).collect();
    let mut batch = whole(source, &split)?;
    batch.indices.clone_from(&settings.samples);
    for epoch in &settings.epochs {
        batch.epoch = *epoch;
        let drawn = feed.draw(&batch, &task);
        session.submit(0, &feed.inputs(&batch, &batch.places, &drawn), &Step::default())?;
        let mut outputs = session.collect(0).await?.map(|finished| finished.outputs).unwrap_or_default();
        let pixels = outputs.remove("images").unwrap_or_default();
        let mut pictures = scale.pictures(&pixels, true, task.image, split.labels());
        if let Some(targets) = outputs.get("targets") {
            for (picture, target) in pictures.iter_mut().zip(targets.chunks_exact(task.classes)) {
                picture.labels = named(target);
            }
        }
        rows.iter_mut().zip(pictures).for_each(|(row, picture)| row.push(picture));
    }
    Ok(Preview { channels: scale.shown, rows })
}

/// All samples of a split as one batch.
fn whole(feed: Feed, split: &Split) -> Result<Batch> {
    let batch = feed.loader(split, split.len(), Order::Evaluate)?.next();
    batch.unwrap_or_else(|| Err(Error::Data("there are no samples to show".to_string())))
}

/// The classes of a target, the largest share first.
fn named(target: &[f32]) -> Vec<(usize, f32)> {
    let mut shares: Vec<(usize, f32)> =
        target.iter().copied().enumerate().filter(|(_, share)| *share > UNNAMED).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares
}

/// How values become bytes.
struct Scale {
    normalization: Option<Normalization>,
    /// The values of black and white.
    range: [f32; 2],
    /// Channels that are shown.
    shown: usize,
}

impl Scale {
    fn of(split: &Split, normalization: Option<Normalization>) -> Result<Scale> {
        let range = match split.images() {
            Images::F32(values) => {
                let mut range = [f32::INFINITY, f32::NEG_INFINITY];
                for value in values.iter().filter(|value| value.is_finite()) {
                    range = [
                        if *value < range[0] { *value } else { range[0] },
                        if *value > range[1] { *value } else { range[1] },
                    ];
                }
                range
            }
            _ => [0.0, 1.0],
        };
        Ok(Scale { normalization, range, shown: if split.image()[0] < 3 { 1 } else { 3 } })
    }

    /// Pictures of values `[N, H, W, C]`, which may be normalised.
    fn pictures(&self, values: &[f32], normalized: bool, image: [usize; 3], labels: &[i32]) -> Vec<Picture> {
        let [channels, height, width] = image;
        let normalization = self.normalization.as_ref().filter(|_| normalized);
        let [black, white] = self.range;
        let byte = |channel: usize, value: f32| {
            let value = normalization.map_or(value, |by| value * by.std[channel] + by.mean[channel]);
            // What is not a number becomes black.
            ((value - black) / (white - black) * 255.0).round() as u8
        };
        let pictures = values.chunks_exact(channels * height * width).zip(labels);
        pictures
            .map(|(values, label)| {
                let shown =
                    values.chunks_exact(channels).flat_map(|pixel| pixel.iter().take(self.shown).enumerate());
                Picture {
                    size: [height, width],
                    pixels: shown.map(|(channel, value)| byte(channel, *value)).collect(),
                    labels: vec![(usize::try_from(*label).unwrap_or(0), 1.0)],
                }
            })
            .collect()
    }
}
