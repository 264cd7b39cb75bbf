//! One image file: its header, its pixels, its pixels at another size.

use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use image::imageops::FilterType;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageReader, RgbImage};

use super::file::{bad, open};
use super::resize::{resized_middle, size_with_shorter};
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

/// Pixels of a resized picture before its middle is cut out; a square of 8192.
const MOST_RESIZED: usize = 1 << 26;

/// How large an image from strangers may be; its header is asked before anything is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// Pixels of the longer side.
    pub side: usize,
    /// Pixels in all, as it is and as it is resized.
    pub pixels: usize,
}

/// [`read_image`] for a network whose training pictures were resized to a `shorter` side and cropped.
pub fn read_resized_image(path: impl AsRef<Path>, image: [usize; 3], shorter: usize) -> Result<ReadImage> {
    fitted(path.as_ref(), || load(path.as_ref()), image, Some(shorter))
}

/// Reads an image file as a network of `image` channels, height and width takes it: in grey or in colour, without its
/// alpha channel, resized where its size is another.
pub fn read_image(path: impl AsRef<Path>, image: [usize; 3]) -> Result<ReadImage> {
    fitted(path.as_ref(), || load(path.as_ref()), image, None)
}

/// An image file as it is, in colour.
pub fn read_picture(path: impl AsRef<Path>) -> Result<RgbImage> {
    load(path.as_ref()).map(DynamicImage::into_rgb8)
}

/// An image file that is in memory, as [`read_image`] or, with a `shorter` side, [`read_resized_image`] gives it.
///
/// # Errors
/// If it cannot be decoded or is beyond the limits; messages call it "the image".
pub fn decode_image(
    bytes: &[u8],
    image: [usize; 3],
    shorter: Option<usize>,
    limits: ImageLimits,
) -> Result<ReadImage> {
    let name = Path::new("the image");
    let reader = || guess(name, Cursor::new(bytes));
    let header = header_of(name, reader()?)?;
    limits.check(name, &header, shorter)?;
    fitted(name, || decoded(name, reader()?), image, shorter)
}

impl ImageLimits {
    fn check(self, name: &Path, header: &Header, shorter: Option<usize>) -> Result<()> {
        let Header { width, height, .. } = *header;
        if width.max(height) > self.side || width.saturating_mul(height) > self.pixels {
            let ImageLimits { side, pixels } = self;
            let message = format!(
                "is {width}x{height}; at most {side} pixels on a side and {pixels} in all are accepted"
            );
            return Err(bad(name, message));
        }
        shorter.map_or(Ok(()), |shorter| header.check_resized(name, shorter, self.pixels))
    }
}

/// An image as a network takes it.
fn fitted(
    path: &Path,
    load: impl FnOnce() -> Result<DynamicImage>,
    image: [usize; 3],
    shorter: Option<usize>,
) -> Result<ReadImage> {
    let [_, height, width] = image.map(|dim| u32::try_from(dim).unwrap_or(0));
    if height == 0 || width == 0 {
        return Err(bad(path, format!("cannot be resized to {}x{} pixels", image[2], image[1])));
    }
    if let Some(shorter) = shorter.filter(|shorter| *shorter < image[1].max(image[2])) {
        let message = format!("cannot be resized to {shorter} and cropped to {width}x{height}");
        return Err(bad(path, message));
    }
    let whole = load()?;
    if let Some(shorter) = shorter {
        Header::of(&whole).check_resized(path, shorter, MOST_RESIZED)?;
    }
    let whole = with_channels(path, whole, image[0])?;
    let size = [whole.height() as usize, whole.width() as usize];
    let (fitting, resized_from) = match shorter {
        Some(shorter) => (resized_middle(whole, shorter, [image[1], image[2]]), None),
        None if size == [image[1], image[2]] => (whole, None),
        None => (whole.resize_exact(width, height, FilterType::Triangle), Some(size)),
    };
    let pixels = fitting.into_bytes().into_iter().map(|byte| f32::from(byte) * BYTE_SCALE).collect();
    Ok(ReadImage { pixels, resized_from })
}

/// The bytes of an image file that has exactly the size of `image`, or of the middle of one whose shorter side is resized.
pub(super) fn decode(path: &Path, image: [usize; 3], shorter: Option<usize>) -> Result<Vec<u8>> {
    let whole = load(path)?;
    if let Some(shorter) = shorter {
        Header::of(&whole).check_resized(path, shorter, MOST_RESIZED)?;
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

impl Header {
    fn new((width, height): (u32, u32), colours: ColorType) -> Header {
        let grey = matches!(colours, ColorType::L8 | ColorType::La8 | ColorType::L16 | ColorType::La16);
        Header { width: width as usize, height: height as usize, grey }
    }

    fn of(image: &DynamicImage) -> Header {
        Header::new((image.width(), image.height()), image.color())
    }

    /// Refuses a picture of few pixels that would have more than `most` once its shorter side is resized.
    pub(super) fn check_resized(&self, path: &Path, shorter: usize, most: usize) -> Result<()> {
        let Header { width, height, .. } = *self;
        let [rows, columns] = size_with_shorter([height, width], shorter);
        if rows.saturating_mul(columns) > most {
            let message =
                format!("is {width}x{height}, too narrow to make its shorter side {shorter} pixels");
            return Err(bad(path, message));
        }
        Ok(())
    }
}

/// What a file says of itself; refused where it could not be resized to this shorter side.
pub(super) fn header(path: &Path, shorter: Option<usize>) -> Result<Header> {
    let header = header_of(path, reader(path)?)?;
    shorter.map_or(Ok(()), |shorter| header.check_resized(path, shorter, MOST_RESIZED))?;
    Ok(header)
}

fn header_of<R: BufRead + Seek>(path: &Path, reader: ImageReader<R>) -> Result<Header> {
    let decoder = reader.into_decoder().map_err(|error| undecodable(path, error))?;
    Ok(Header::new(decoder.dimensions(), decoder.color_type()))
}

fn load(path: &Path) -> Result<DynamicImage> {
    decoded(path, reader(path)?)
}

fn decoded<R: BufRead + Seek>(path: &Path, reader: ImageReader<R>) -> Result<DynamicImage> {
    reader.decode().map_err(|error| undecodable(path, error))
}

fn reader(path: &Path) -> Result<ImageReader<BufReader<std::fs::File>>> {
    let (file, _) = open(path, EXPECTED)?;
    guess(path, BufReader::new(file))
}

/// Goes by the content: a JPEG that is called .png is read as what it is. The crate's default limit of 512 MiB for
/// an image stays on.
fn guess<R: BufRead + Seek>(path: &Path, bytes: R) -> Result<ImageReader<R>> {
    ImageReader::new(bytes).with_guessed_format().map_err(Error::io("read", path))
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
