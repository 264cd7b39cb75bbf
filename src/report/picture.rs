//! Pictures of a report: samples and filters as PNG files within the page.

use std::io::Cursor;

use base64::Engine;
use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage, imageops};

use crate::data::Split;
use crate::error::{Error, Result};
use crate::tensor::HostTensor;
use crate::train::weights::Tensors;

/// Pixels to a side of a sample's picture, at most.
const LARGEST: u32 = 96;
/// Filters that are shown, at most.
const FILTERS: usize = 256;
/// Filters in a row.
const COLUMNS: usize = 16;

/// A picture as it is put into a page or an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The PNG file.
    pub png: Vec<u8>,
}

impl Picture {
    /// Pixels of one byte (grey) or three, rows from the top.
    pub fn of_bytes([height, width]: [usize; 2], channels: usize, pixels: &[u8]) -> Result<Picture> {
        Picture::of(RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let at = (y as usize * width + x as usize) * channels;
            let byte = |channel: usize| pixels.get(at + channel.min(channels - 1)).copied().unwrap_or(0);
            image::Rgb([0, 1, 2].map(byte))
        }))
    }

    fn of(image: RgbImage) -> Result<Picture> {
        let grey = image.pixels().all(|pixel| pixel.0[0] == pixel.0[1] && pixel.0[1] == pixel.0[2]);
        let image = DynamicImage::from(image);
        Picture::encode(if grey { DynamicImage::from(image.to_luma8()) } else { image })
    }

    fn encode(image: DynamicImage) -> Result<Picture> {
        let (width, height) = (image.width(), image.height());
        let mut png = Cursor::new(vec![]);
        image
            .write_to(&mut png, ImageFormat::Png)
            .map_err(|error| Error::Data(format!("a picture cannot be encoded: {error}")))?;
        Ok(Picture { width, height, png: png.into_inner() })
    }

    /// The picture as an address that holds all of it.
    pub fn data_uri(&self) -> String {
        format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(&self.png))
    }
}

/// A sample of a split as a person sees it: without normalisation, and not larger than it needs to be.
pub fn sample(split: &Split, number: u32) -> Result<Picture> {
    let [channels, height, width] = split.image();
    let mut values = split.pixels(&[number], None)?;
    let range = |values: &[f32]| {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let low = finite().min_by(f32::total_cmp).unwrap_or(0.0);
        (low, finite().max_by(f32::total_cmp).unwrap_or(1.0))
    };
    let (low, high) = range(&values);
    if low < 0.0 || high > 1.0 {
        // Values that are no shades are spread from black to white.
        let scale = if high > low { 1.0 / (high - low) } else { 1.0 };
        values.iter_mut().for_each(|value| *value = (*value - low) * scale);
    }
    let shade = |x: u32, y: u32, channel: usize| {
        let channel = if channels >= 3 { channel } else { 0 };
        let at = (y as usize * width + x as usize) * channels + channel;
        (values[at] * 255.0).round() as u8
    };
    let image = RgbImage::from_fn(width as u32, height as u32, |x, y| {
        image::Rgb([0, 1, 2].map(|channel| shade(x, y, channel)))
    });
    let (width, height) = image.dimensions();
    if width <= LARGEST && height <= LARGEST {
        return Picture::of(image);
    }
    let scale = f64::from(LARGEST) / f64::from(width.max(height));
    let [width, height] = [width, height].map(|side| ((f64::from(side) * scale) as u32).max(1));
    Picture::of(imageops::resize(&image, width, height, imageops::FilterType::Triangle))
}

/// The filters of the first convolution, in rows: each in colours if it reads three channels, else its mean; grey is
/// zero, black and white are each filter's largest magnitude. Between them one sees through.
pub fn filters(tensors: &Tensors) -> Option<Result<(String, Picture)>> {
    let (name, weight) = tensors.iter().find(|(_, tensor)| is_filter_bank(tensor))?;
    let [count, channels, rows, columns] = [0, 1, 2, 3].map(|dim| weight.shape[dim]);
    let shown = count.min(FILTERS);
    let across = shown.min(COLUMNS);
    let size = [across * (columns + 1) + 1, shown.div_ceil(across) * (rows + 1) + 1].map(|side| side as u32);
    let mut image = RgbaImage::new(size[0], size[1]);
    let plane = rows * columns;
    for filter in 0..shown {
        let values = &weight.data[filter * channels * plane..][..channels * plane];
        let value = |channel: usize, at: usize| match channels {
            3 => values[channel * plane + at],
            _ => (0..channels).map(|channel| values[channel * plane + at]).sum::<f32>() / channels as f32,
        };
        let all = (0..plane).flat_map(|at| [0, 1, 2].map(|channel| value(channel, at).abs()));
        let largest = all.filter(|value| value.is_finite()).max_by(f32::total_cmp).unwrap_or(0.0);
        let scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        for at in 0..plane {
            let [red, green, blue] = [0, 1, 2].map(|channel| (128.0 + value(channel, at) * scale) as u8);
            let x = (filter % across) * (columns + 1) + 1 + at % columns;
            let y = (filter / across) * (rows + 1) + 1 + at / columns;
            image.put_pixel(x as u32, y as u32, image::Rgba([red, green, blue, 255]));
        }
    }
    Some(Picture::encode(image.into()).map(|picture| (name.clone(), picture)))
}

fn is_filter_bank(tensor: &HostTensor) -> bool {
    tensor.shape.len() == 4 && tensor.shape[2] * tensor.shape[3] > 1
}

/// A matrix of counts as shades, for more classes than a table can show: row by row, each by its share of the row.
pub fn matrix(counts: &[Vec<u64>]) -> Result<Picture> {
    let side = counts.len() as u32;
    let shade = |x: u32, y: u32| {
        let row = &counts[y as usize];
        let sum = row.iter().sum::<u64>().max(1);
        // By the square root, so that few mistakes are still seen.
        255 - ((row[x as usize] as f64 / sum as f64).sqrt() * 255.0) as u8
    };
    Picture::of(RgbImage::from_fn(side, side, |x, y| image::Rgb([shade(x, y); 3])))
}
