//! Classifying images with a run's model: what `predict` and `serve` share.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::control::Choice;
use super::device::Device;
use super::program::{self, Task};
use super::recipe::Precision;
use super::run::{Run, RunModel};
use super::session::Session;
use super::trainer::Trainer;
use super::weights::{self, TensorFile};
use crate::data::{IGNORE_INDEX, ImageLimits, ReadImage, decode_image, read_image, read_resized_image};
use crate::error::{Error, Result};
use crate::graph::Step;
use crate::models::Model;
use crate::plan::{Data, PageList, Program};

/// A class with how probable it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Guess {
    /// The class's name.
    pub class: String,
    /// Of 0..1.
    pub probability: f64,
}

impl RunModel {
    /// What the model takes and gives, so many images at a time.
    pub fn task(&self, batch_size: usize) -> Task {
        Task {
            image: self.image,
            classes: self.classes.len(),
            batch_size,
            label_smoothing: 0.0,
            precision: Precision::F32,
        }
    }

    /// Reads an image file as the model takes it: resized and cropped as in training, normalised.
    pub fn read_image(&self, path: &Path) -> Result<ReadImage> {
        self.normalized(match self.resize {
            Some(shorter) => read_resized_image(path, self.image, shorter)?,
            None => read_image(path, self.image)?,
        })
    }

    /// The same of an image file that is in memory, within limits.
    pub fn decode_image(&self, bytes: &[u8], limits: ImageLimits) -> Result<ReadImage> {
        self.normalized(decode_image(bytes, self.image, self.resize, limits)?)
    }

    fn normalized(&self, mut image: ReadImage) -> Result<ReadImage> {
        if let Some(normalization) = &self.normalization {
            normalization.apply(&mut image.pixels, self.image[0])?;
        }
        Ok(image)
    }

    /// The most probable classes by softmax, the first of them first; at most `count`.
    pub fn top(&self, logits: &[f32], count: usize) -> Vec<Guess> {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
        let weights: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let mut order: Vec<usize> = (0..self.classes.len().min(weights.len())).collect();
        order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
        let guess =
            |class: usize| Guess { class: self.classes[class].clone(), probability: weights[class] / sum };
        order.into_iter().take(count).map(guess).collect()
    }
}

/// A run's model on a device, ready for batches of several sizes.
pub struct Predictor {
    about: RunModel,
    session: Session,
    /// Images that each of the program's graphs takes, rising.
    sizes: Vec<usize>,
    /// Labels of the largest batch, all ignored.
    labels: Vec<i32>,
    /// A batch that is filled up to the size of its plan.
    padded: Vec<f32>,
}

impl Trainer<'_> {
    /// The model as it is now, on the same device, for up to `most` images at a time; training can go on meanwhile.
    ///
    /// # Errors
    /// If the device has no room for it, or fails.
    pub async fn predictor(&mut self, most: usize) -> Result<Predictor> {
        let weights = TensorFile { tensors: self.model().await?, ..Default::default() };
        let (about, parts) = (&self.about, &self.parts);
        Predictor::new((about, parts.model, &weights), Path::new("the trained model"), &parts.device, most)
            .await
    }
}

impl Predictor {
    /// Loads a run's model. It takes up to `most` images at a time, by plans for 1, 2, 4, 8 ... images, so that one
    /// image does not pay for many. All buffers on the device are made here, and used again for every batch.
    ///
    /// # Errors
    /// If the run's files are missing or damaged, its chosen checkpoint was not kept, or the device has no room.
    pub async fn open(run: &Run, choice: Choice, device: &Device, most: usize) -> Result<Predictor> {
        let (about, model, weights) = run.read_chosen(choice, false)?;
        Predictor::of((&about, &model, &weights), run, device, most).await
    }

    /// The same of a model and weights that were read already.
    pub async fn of(
        (about, model, weights): (&RunModel, &Model, &TensorFile),
        run: &Run,
        device: &Device,
        most: usize,
    ) -> Result<Predictor> {
        Predictor::new((about, model, weights), &run.file("model.safetensors"), device, most).await
    }

    /// `path` names the weights in messages.
    async fn new(
        (about, model, weights): (&RunModel, &Model, &TensorFile),
        path: &Path,
        device: &Device,
        most: usize,
    ) -> Result<Predictor> {
        let sizes = plan_sizes(most);
        let tasks: Vec<Task> = sizes.iter().map(|size| about.task(*size)).collect();
        let program = program::inference_of(model, &tasks, device)?;
        let session = loaded(program, weights, device, path).await?;
        let labels = vec![IGNORE_INDEX; most.max(1)];
        Ok(Predictor { about: about.clone(), session, sizes, labels, padded: vec![] })
    }

    /// What the model says of itself.
    pub fn about(&self) -> &RunModel {
        &self.about
    }

    /// The most images that are computed at a time.
    pub fn most(&self) -> usize {
        self.sizes.last().copied().unwrap_or(1)
    }

    /// Computes a batch of each size once, so that what is compiled when it is first used is.
    pub async fn warm_up(&mut self) -> Result<()> {
        let image: usize = self.about.image.iter().product();
        for size in self.sizes.clone() {
            self.logits(&vec![0.0; size * image]).await?;
        }
        Ok(())
    }

    /// The logits `[N, classes]` of images `[N, H, W, C]` as [`RunModel::read_image`] gives them; however many. The
    /// smallest plan that holds what is left is used, its rest filled with zeros.
    ///
    /// # Errors
    /// If these are no whole images, or the device fails.
    pub async fn logits(&mut self, pixels: &[f32]) -> Result<Vec<f32>> {
        let [image, classes] = [self.about.image.iter().product::<usize>(), self.about.classes.len()];
        if !pixels.len().is_multiple_of(image) {
            let [c, h, w] = self.about.image;
            let message = format!("{} numbers are no images of {h} x {w} x {c}", pixels.len());
            return Err(Error::Data(message));
        }
        let mut logits = Vec::with_capacity(pixels.len() / image * classes);
        for batch in pixels.chunks(image * self.most()) {
            let count = batch.len() / image;
            let graph = self.sizes.iter().position(|size| *size >= count).unwrap_or(0);
            let size = self.sizes[graph];
            let images = match count == size {
                true => batch,
                false => {
                    self.padded.clear();
                    self.padded.extend_from_slice(batch);
                    self.padded.resize(size * image, 0.0);
                    &self.padded[..]
                }
            };
            let inputs = [("images", Data::Real(images)), ("labels", Data::Int(&self.labels[..size]))];
            self.session.prepare(graph).await?;
            self.session.submit(graph, &inputs, &Step::default())?;
            let finished = self.session.collect(0).await?;
            let output = finished.and_then(|mut finished| finished.outputs.remove("logits"));
            logits.extend_from_slice(&output.unwrap_or_default()[..count * classes]);
        }
        Ok(logits)
    }
}

/// 1, 2, 4, ... and the most.
fn plan_sizes(most: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> = (0..).map(|power| 1 << power).take_while(|size| *size < most).collect();
    sizes.push(most.max(1));
    sizes
}

/// A session of a program that evaluates a run's model with the weights of a file; every tensor must be in it. `path`
/// names the file in messages.
pub async fn loaded(program: Program, file: &TensorFile, device: &Device, path: &Path) -> Result<Session> {
    let program = Arc::new(program);
    let mut session = Session::new(device, program.clone()).await?;
    let mut tensors = weights::zeros(&program.pages);
    let leftovers = weights::merge(&mut tensors, file, path)?;
    if let Some(name) = leftovers.missing.first() {
        return Err(Error::file(path, format!("lacks \"{name}\"; the file is damaged")));
    }
    let [parameters, statistics] = weights::all_pages(&program.pages, &tensors);
    session.write_pages(PageList::Parameters, &parameters);
    session.write_pages(PageList::Statistics, &statistics);
    Ok(session)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_powers_of_two_up_to_the_most() {
        assert_eq!(plan_sizes(1), [1]);
        assert_eq!(plan_sizes(6), [1, 2, 4, 6]);
        assert_eq!(plan_sizes(16), [1, 2, 4, 8, 16]);
    }
}
