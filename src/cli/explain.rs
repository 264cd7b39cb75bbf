//! `wgrad predict --explain`: pictures with what speaks for a class in red.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma, Rgb, RgbImage};

use super::contact_sheet::enlarged;
use super::report::write_png;
use crate::data::read_picture;
use crate::error::{Error, Result};
use crate::models::Model;
use crate::train::weights::TensorFile;
use crate::train::{Device, Explainer, Heat, Predictor, Run, RunModel, argmax};

/// The largest share of a pixel that the heat's colour takes.
const OPACITY: f32 = 0.65;

/// Pictures with less than this many pixels to their longer side are enlarged to it, by whole numbers.
const LEAST_SIDE: u32 = 224;

/// Writes explanations into a folder.
pub(super) struct Explanations {
    explainer: Explainer,
    folder: PathBuf,
    about: RunModel,
    names: HashSet<String>,
}

impl Explanations {
    pub(super) fn new(
        folder: &Path,
        model: (&RunModel, &Model, &TensorFile),
        run: &Run,
        device: &Device,
    ) -> Result<Explanations> {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let explainer = pollster::block_on(Explainer::new(model, run, device))?;
        if explainer.occludes() {
            eprintln!("note: the network has no feature map; explanations hide parts of the image instead");
        }
        Ok(Explanations {
            explainer,
            folder: folder.to_path_buf(),
            about: model.0.clone(),
            names: HashSet::new(),
        })
    }

    /// Writes the picture of a file with what speaks for its most probable class; `pixels` are what the network saw.
    pub(super) fn write(
        &mut self,
        predictor: &mut Predictor,
        path: &Path,
        pixels: &[f32],
        logits: &[f32],
    ) -> Result<PathBuf> {
        let class = argmax(logits);
        let heat = pollster::block_on(self.explainer.heat(predictor, pixels, class))?;
        let picture = read_picture(path)?;
        let mut picture = enlarged(&picture, picture.width().max(picture.height()), LEAST_SIDE);
        let seen = seen_part(&picture, &self.about);
        lay_over(&mut picture, &heat, seen);
        let class = self.about.classes[class].clone();
        let name = self.name(path, &class);
        let file = self.folder.join(name);
        write_png(&file, &picture)?;
        Ok(file)
    }

    /// `cat-1-dog.png` for `cat.jpg` that is taken for a dog and whose name is taken.
    fn name(&mut self, path: &Path, class: &str) -> String {
        let plain = |text: &str| -> String {
            text.chars()
                .map(|letter| if letter.is_alphanumeric() || "-_.".contains(letter) { letter } else { '_' })
                .collect()
        };
        let stem = plain(&path.file_stem().unwrap_or_default().to_string_lossy());
        let number = |number: usize| if number == 0 { stem.clone() } else { format!("{stem}-{number}") };
        let mut free = (0..).map(|count| format!("{}-{}.png", number(count), plain(class)));
        let name = free.find(|name| !self.names.contains(name)).unwrap_or_default();
        self.names.insert(name.clone());
        name
    }
}

/// The part of a picture that the network saw: x, y, width, height.
fn seen_part(picture: &RgbImage, about: &RunModel) -> [f32; 4] {
    let [width, height] = [picture.width(), picture.height()].map(|side| side as f32);
    let Some(shorter) = about.resize else { return [0.0, 0.0, width, height] };
    let scale = if width < height { width } else { height } / shorter as f32;
    let [_, h, w] = about.image.map(|side| side as f32 * scale);
    [(width - w) / 2.0, (height - h) / 2.0, w, h]
}

/// Blends the heat over the part of the picture that it is of.
fn lay_over(picture: &mut RgbImage, heat: &Heat, [left, top, width, height]: [f32; 4]) {
    let [rows, columns] = heat.size.map(|length| length as u32);
    let size = [width, height].map(|side| (side.round() as u32).max(1));
    let Some(map) = ImageBuffer::<Luma<f32>, _>::from_raw(columns, rows, heat.map.clone()) else { return };
    let map = imageops::resize(&map, size[0], size[1], FilterType::Triangle);
    let [left, top] = [left, top].map(|edge| edge.round() as i64);
    for (x, y, Luma([heat])) in map.enumerate_pixels() {
        let at = [left + i64::from(x), top + i64::from(y)].map(u32::try_from);
        let [Ok(x), Ok(y)] = at else { continue };
        if let Some(pixel) = picture.get_pixel_mut_checked(x, y) {
            *pixel = blended(*pixel, *heat);
        }
    }
}

/// A pixel, the hotter the more yellow and then red.
fn blended(Rgb(pixel): Rgb<u8>, heat: f32) -> Rgb<u8> {
    let colour = [255.0, 230.0 * (1.0 - heat), 0.0];
    let mix = |own: u8, hot: f32| (f32::from(own) + OPACITY * heat * (hot - f32::from(own))).round() as u8;
    Rgb([mix(pixel[0], colour[0]), mix(pixel[1], colour[1]), mix(pixel[2], colour[2])])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(resize: Option<usize>) -> RunModel {
        let classes = vec!["a".to_string()];
        RunModel { image: [3, 4, 4], classes, normalization: None, resize, model: String::new() }
    }

    #[test]
    fn heat_lies_over_what_the_network_saw() {
        let grey = Rgb([90; 3]);
        let mut picture = RgbImage::from_pixel(40, 20, grey);
        let heat = Heat { size: [2, 2], map: vec![0.0, 0.0, 0.0, 1.0] };
        // The shorter side of 20 pixels was made 5, of which the middle 4x4 was taken: 16x16 pixels of the picture.
        let seen = seen_part(&picture, &about(Some(5)));
        assert_eq!(seen, [12.0, 2.0, 16.0, 16.0]);
        lay_over(&mut picture, &heat, seen);
        let changed: Vec<(u32, u32)> = picture
            .enumerate_pixels()
            .filter(|(.., pixel)| **pixel != grey)
            .map(|(x, y, _)| (x, y))
            .collect();
        assert!(changed.iter().all(|(x, y)| (12..28).contains(x) && (2..18).contains(y)), "{changed:?}");
        let hot = picture.get_pixel(26, 16);
        assert!(hot[0] > 190 && hot[1] < 50, "{hot:?}");
        assert_eq!(picture.get_pixel(13, 3), &grey);
        assert_eq!(seen_part(&picture, &about(None)), [0.0, 0.0, 40.0, 20.0]);
    }
}
