//! How training samples reach a graph, and what is done to them on the way.

use super::feed::Feed;
use super::program::Task;
use crate::augment::{Augmentation, MIX_WORDS, Mixing, Parameters, WORDS};
use crate::data::{Batch, Images, Split};
use crate::error::{Error, Result};
use crate::graph::{Graph, TensorDesc, Value};
use crate::ops::augment::Augment;
use crate::ops::mix_images::MixImages;
use crate::ops::mix_targets::MixTargets;
use crate::plan::Data;

/// Pixels to a side of an image that is augmented, at most: places are counted in 2^16ths of a pixel in 32 bits.
const MOST_PIXELS: usize = 4096;

/// A feed of training samples with what is done to them.
///
/// The host draws the parameters of each batch and uploads them with the indices, so that all devices are given the
/// same numbers and nothing waits; the device does the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainFeed {
    /// Where samples come from.
    pub feed: Feed,
    /// What is done to each.
    pub augmentation: Augmentation,
    /// How they are mixed.
    pub mixing: Mixing,
    /// Channels, height and width of the stored images.
    pub stored: [usize; 3],
    /// Seed of the run.
    pub seed: u64,
}

/// What a batch brings into a training graph.
#[derive(Clone, Copy, Debug)]
pub struct Fed {
    /// The network's input.
    pub images: Value,
    /// The class of each sample: where samples are mixed, its own.
    pub labels: Value,
    /// What the loss compares with: the labels, or probabilities.
    pub targets: Value,
}

/// What was drawn for a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    parameters: Vec<i32>,
    mix: Vec<f32>,
}

impl From<Feed> for TrainFeed {
    /// Samples as they are.
    fn from(feed: Feed) -> TrainFeed {
        let (augmentation, mixing) = (Augmentation::NONE, Mixing::default());
        TrainFeed { feed, augmentation, mixing, stored: [0; 3], seed: 0 }
    }
}

impl TrainFeed {
    /// Samples of a split, augmented. Fails where its images cannot be, or where there is nothing to mix.
    pub fn new(
        feed: Feed,
        (augmentation, mixing): (Augmentation, Mixing),
        split: &Split,
        task: &Task,
        seed: u64,
    ) -> Result<TrainFeed> {
        let this = TrainFeed { feed, augmentation, mixing, stored: split.image(), seed };
        let fail = |message: String| Err(Error::Recipe(message));
        if mixing.is_on() && (task.classes < 2 || task.batch_size < 2) {
            let (what, count) = if task.classes < 2 {
                ("class", task.classes)
            } else {
                ("sample in a batch", task.batch_size)
            };
            return fail(format!(
                "--mixup-alpha and --cutmix-alpha mix samples of different classes; there is {count} {what}"
            ));
        }
        if !this.augments(task) {
            return Ok(this);
        }
        let [channels, height, width] = split.image();
        if matches!(split.images(), Images::F32(_)) {
            return fail(
                "[augment] changes images of bytes; this data set's are f32: save them as U8".to_string(),
            );
        }
        if height.max(width) > MOST_PIXELS {
            return fail(format!(
                "[augment] takes images of up to {MOST_PIXELS} pixels to a side; these are {width}x{height}"
            ));
        }
        if augmentation.changes_colours() && channels != 1 && channels != 3 {
            return fail(format!(
                "[augment] changes colours of images of 1 or 3 channels; these have {channels}"
            ));
        }
        let side = height.min(width);
        if let crate::augment::Crop::Padded { padding, reflect: true } = augmentation.crop
            && padding as usize >= side
        {
            return fail(format!(
                "--crop-padding is {padding}; with --padding-mode reflect it must be less than the image's {side} pixels"
            ));
        }
        if augmentation.cutout as usize > height.max(width) {
            return fail(format!("--cutout is {}; the images are {width}x{height}", augmentation.cutout));
        }
        Ok(this)
    }

    /// Whether images are changed.
    fn augments(&self, task: &Task) -> bool {
        self.augmentation != Augmentation::NONE || self.stored != [0; 3] && self.stored != task.image
    }

    /// Samples that have to stay together in a micro-batch.
    pub fn group(&self) -> usize {
        if self.mixing.is_on() { 2 } else { 1 }
    }

    /// Adds what leads to a batch's images and targets to a training graph.
    pub fn build(&self, graph: &mut Graph, task: &Task) -> Result<Fed> {
        let (mut images, labels) = if self.augments(task) {
            let mut inputs = self.feed.sources(graph, task, self.stored)?;
            inputs.push(graph.input("augmentation", TensorDesc::i32([task.batch_size, WORDS])));
            let [_, height, width] = task.image;
            let op = Augment { size: [height, width], colours: self.augmentation.changes_colours() };
            let batch = graph.scope("batch", |graph| graph.apply(op, &inputs))?;
            (batch[0], batch[1])
        } else {
            self.feed.build(graph, task)?
        };
        let mut targets = labels;
        if self.mixing.is_on() {
            let mix = graph.input("mix", TensorDesc::f32([task.batch_size, MIX_WORDS]));
            images = graph.scope("batch", |graph| graph.apply1(MixImages {}, &[images, mix]))?;
            let op = MixTargets { classes: task.classes };
            targets = graph.scope("targets", |graph| graph.apply1(op, &[labels, mix]))?;
        }
        Ok(Fed { images, labels, targets })
    }

    /// Draws what is done to a batch.
    pub fn draw(&self, batch: &Batch, task: &Task) -> Drawn {
        let [_, height, width] = task.image;
        let (size, places) = ([height, width], batch.places.len());
        let mut drawn = Drawn::default();
        if self.augments(task) {
            let stored = [self.stored[1], self.stored[2]];
            let of = |sample| self.augmentation.draw((self.seed, batch.epoch, sample), stored, size);
            drawn.parameters.reserve(places * WORDS);
            for Parameters(words) in batch.indices.iter().map(|&sample| of(sample)) {
                drawn.parameters.extend(words);
            }
            drawn.parameters.resize(places * WORDS, 0);
        }
        if self.mixing.is_on() {
            let row = self.mixing.draw((self.seed, batch.epoch, batch.position), size);
            drawn.mix = row.repeat(places);
        }
        drawn
    }

    /// What a run of the graph is given; `places` are the batch's, or those in its micro-batches.
    pub fn inputs<'a>(
        &self,
        batch: &'a Batch,
        places: &'a [i32],
        drawn: &'a Drawn,
    ) -> Vec<(&'static str, Data<'a, f32>)> {
        let mut inputs = self.feed.inputs(batch, places);
        if !drawn.parameters.is_empty() {
            inputs.push(("augmentation", Data::Int(&drawn.parameters)));
        }
        if !drawn.mix.is_empty() {
            inputs.push(("mix", Data::Real(&drawn.mix)));
        }
        inputs
    }
}
