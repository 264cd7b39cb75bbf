//! Images from strangers, in memory: decoded as files are, and refused by their headers where they are too large.

use std::fs;
use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};
use wgrad::data::{ImageLimits, decode_image, read_image, read_resized_image};

const LIMITS: ImageLimits = ImageLimits { side: 100, pixels: 1000 };

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    let picture = RgbImage::from_fn(width, height, |x, y| Rgb([x as u8 * 7, y as u8 * 11, (x * y) as u8]));
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn refused(bytes: &[u8], shorter: Option<usize>, part: &str) {
    let error = decode_image(bytes, [3, 4, 4], shorter, LIMITS).unwrap_err().to_string();
    assert!(error.starts_with("the image: ") && error.contains(part), "{part:?} is not in: {error}");
}

#[test]
fn memory_gives_what_a_file_gives() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    fs::write(&path, png(19, 13)).unwrap();
    for image in [[3, 13, 19], [1, 6, 8]] {
        let from_memory = decode_image(&png(19, 13), image, None, LIMITS).unwrap();
        assert_eq!(from_memory, read_image(&path, image).unwrap());
    }
    let from_memory = decode_image(&png(19, 13), [3, 8, 8], Some(9), LIMITS).unwrap();
    assert_eq!(from_memory, read_resized_image(&path, [3, 8, 8], 9).unwrap());
}

#[test]
fn what_is_too_large_is_not_decoded() {
    refused(&png(101, 1), None, "is 101x1; at most 100 pixels on a side and 1000 in all are accepted");
    refused(&png(40, 40), None, "is 40x40; at most");
    // 100 x 2 pixels are few, but not once the shorter side is 20.
    refused(&png(100, 2), Some(20), "is 100x2, too narrow to make its shorter side 20 pixels");
    // A header alone: what it claims is never allocated.
    let mut claims = png(9, 9);
    claims[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    refused(&claims, None, "");
    refused(&png(9, 9)[..60], None, "cannot be decoded");
    refused(b"", None, "is not a known kind of image");
    refused(b"<svg/>", None, "is not a known kind of image");
}
