//! One image file: its header, its pixels, its pixels at another size.

use std::io::BufReader;
use std::path::Path;

use image::imageops::FilterType;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageReader};

use super::file::{bad, open};
use super::resize::resized_middle;
use super::split::BYTE_SCALE;
use crate::error::{Error, Result};

const EXPECTED: &str = "an image file (PNG, JPEG, GIF, BMP, WebP, TIFF, PNM)";

/// An image for `predict`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadImage {
    /// Pixels of 0..1, `H, W, C`, not normalised.
    pub pixels: Vec<f32>,
    /// Height and width in the file, where they differ from the wanted ones.
    pub resized_from: Option<[usize; 2]>,
}

/// [`read_image`] for a network whose training pictures were resized to a `shorter` side and cropped.
pub fn read_resized_image(path: impl AsRef<Path>, image: [usize; 3], shorter: usize) -> Result<ReadImage> {
    let path = path.as_ref();
    if shorter < image[1].max(image[2]) || image.contains(&0) {
        return Err(bad(
            path,
            format!("cannot be resized to {shorter} and cropped to {}x{}", image[2], image[1]),
        ));
    }
    let bytes = decode(path, image, Some(shorter))?;
    let pixels = bytes.into_iter().map(|byte| f32::from(byte) * BYTE_SCALE).collect();
    Ok(ReadImage { pixels, resized_from: None })
}

/// Reads an image file as a network of `image` channels, height and width takes it: in grey or in colour, without its
/// alpha channel, resized where its size is another.
pub fn read_image(path: impl AsRef<Path>, image: [usize; 3]) -> Result<ReadImage> {
    let path = path.as_ref();
    let [_, height, width] = image.map(|dim| u32::try_from(dim).unwrap_or(0));
    if height == 0 || width == 0 {
        return Err(bad(path, format!("cannot be resized to {}x{} pixels", image[2], image[1])));
    }
    let whole = load(path)?;
    let whole = with_channels(path, whole, image[0])?;
    let size = [whole.height() as usize, whole.width() as usize];
    let resized_from = (size != [image[1], image[2]]).then_some(size);
    let fitting = match resized_from {
        Some(_) => whole.resize_exact(width, height, FilterType::Triangle),
        None => whole,
    };
    let pixels = fitting.into_bytes().into_iter().map(|byte| f32::from(byte) * BYTE_SCALE).collect();
    Ok(ReadImage { pixels, resized_from })
}

/// The bytes of an image file that has exactly the size of `image`, or of the middle of one whose shorter side is resized.
pub(super) fn decode(path: &Path, image: [usize; 3], shorter: Option<usize>) -> Result<Vec<u8>> {
    let whole = load(path)?;
    if let Some(shorter) = shorter {
        let whole = with_channels(path, whole, image[0])?;
        return Ok(resized_middle(whole, shorter, [image[1], image[2]]).into_bytes());
    }
    let size = [whole.height() as usize, whole.width() as usize];
    if size != [image[1], image[2]] {
        let message = format!("is {}x{} pixels, expected {}x{}", size[1], size[0], image[2], image[1]);
        return Err(bad(path, message));
    }
    Ok(with_channels(path, whole, image[0])?.into_bytes())
}

/// Fails unless the whole file can be decoded.
pub(super) fn check(path: &Path) -> Result<()> {
    load(path).map(drop)
}

/// What an image file says of itself before its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) grey: bool,
}

pub(super) fn header(path: &Path) -> Result<Header> {
    let decoder = reader(path)?.into_decoder().map_err(|error| undecodable(path, error))?;
    let (width, height) = decoder.dimensions();
    let grey =
        matches!(decoder.color_type(), ColorType::L8 | ColorType::La8 | ColorType::L16 | ColorType::La16);
    Ok(Header { width: width as usize, height: height as usize, grey })
}

fn load(path: &Path) -> Result<DynamicImage> {
    reader(path)?.decode().map_err(|error| undecodable(path, error))
}

/// Goes by the content: a JPEG that is called .png is read as what it is. The crate's default limit of 512 MiB for
/// an image stays on.
fn reader(path: &Path) -> Result<ImageReader<BufReader<std::fs::File>>> {
    let (file, _) = open(path, EXPECTED)?;
    ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(Error::io("read", path))
}

fn with_channels(path: &Path, image: DynamicImage, channels: usize) -> Result<DynamicImage> {
    match channels {
        1 => Ok(image.into_luma8().into()),
        3 => Ok(image.into_rgb8().into()),
        _ => Err(bad(path, format!("gives 1 channel (grey) or 3 (colour); {channels} are wanted"))),
    }
}

fn undecodable(path: &Path, error: ImageError) -> Error {
    match error {
        ImageError::Limits(error) => bad(
            path,
            format!("is larger than the limit of 512 MiB when it is decoded ({error}); shrink or delete it"),
        ),
        ImageError::Unsupported(_) => bad(path, format!("is not a known kind of image; expected {EXPECTED}")),
        error => bad(path, format!("cannot be decoded ({error}); replace or delete it")),
    }
}
