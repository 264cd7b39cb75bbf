//! Image folders, and single images for predictions.

use std::fs;

use image::{GrayAlphaImage, GrayImage, LumaA, Rgb, RgbImage, Rgba, RgbaImage};
use tempfile::{TempDir, tempdir};
use wgrad::data::{Split, read_image};

use crate::{bytes_of, check, load};

fn folder(dirs: &[&str]) -> TempDir {
    let dir = tempdir().unwrap();
    for name in dirs {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    dir
}

fn solid(width: u32, height: u32, color: [u8; 3]) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb(color))
}

#[test]
fn folders_are_split_by_class() {
    let dir = folder(&["b", "a", ".hidden", "c"]);
    for (class, count) in [("a", 10), ("b", 23), ("c", 2)] {
        for number in 0..count {
            solid(4, 3, [number, 2, 3]).save(dir.path().join(format!("{class}/{number:02}.png"))).unwrap();
        }
    }
    fs::write(dir.path().join("a/notes.txt"), "not an image").unwrap();
    fs::write(dir.path().join("a/.hidden.png"), "not an image").unwrap();
    fs::write(dir.path().join("readme.md"), "not an image").unwrap();
    let set = load("folder", dir.path()).unwrap();
    assert_eq!((set.image, set.classes.as_slice()), ([3, 3, 4], &["a", "b", "c"].map(String::from)[..]));
    for (class, total, train) in [(0, 10, 8), (1, 23, 18), (2, 2, 1)] {
        let count = |split: &Split| split.labels().iter().filter(|&&label| label == class).count();
        assert_eq!((count(&set.train), count(&set.test)), (train, total - train));
    }
    assert_eq!(bytes_of(&set.train)[1..3], [2, 3]);
}

#[test]
fn every_kind_of_image_file_is_read() {
    let dir = folder(&["train/x", "train/y", "val/y"]);
    for (place, format) in
        [("x", "png"), ("x", "bmp"), ("x", "tiff"), ("y", "GIF"), ("y", "webp"), ("y", "ppm")]
    {
        solid(2, 2, [200, 100, 50]).save(dir.path().join(format!("train/{place}/image.{format}"))).unwrap();
    }
    solid(2, 2, [200, 100, 50]).save(dir.path().join("val/y/image.jpeg")).unwrap();
    // A PNG with transparency under the name of a JPEG.
    let transparent = RgbaImage::from_pixel(2, 2, Rgba([200, 100, 50, 7]));
    transparent.save_with_format(dir.path().join("train/x/odd.jpg"), image::ImageFormat::Png).unwrap();
    let set = load("folder", dir.path()).unwrap();
    assert_eq!((set.train.labels(), set.test.labels()), (&[0, 0, 0, 0, 1, 1, 1][..], &[1][..]));
    for bytes in [bytes_of(&set.train), bytes_of(&set.test)] {
        for pixel in bytes.chunks(3) {
            assert!(pixel.iter().zip([200u8, 100, 50]).all(|(a, b)| a.abs_diff(b) < 6), "{pixel:?}");
        }
    }
}

#[test]
fn one_coloured_image_makes_all_coloured() {
    let dir = folder(&["train/x", "test/x"]);
    GrayImage::from_pixel(2, 1, image::Luma([9])).save(dir.path().join("train/x/grey.png")).unwrap();
    GrayAlphaImage::from_pixel(2, 1, LumaA([8, 3])).save(dir.path().join("test/x/grey.png")).unwrap();
    let set = load("folder", dir.path()).unwrap();
    assert_eq!((set.image, bytes_of(&set.train), bytes_of(&set.test)), ([1, 1, 2], &[9, 9][..], &[8, 8][..]));
    solid(2, 1, [1, 2, 3]).save(dir.path().join("test/x/zcolour.png")).unwrap();
    let set = load("folder", dir.path()).unwrap();
    assert_eq!((set.image, bytes_of(&set.train)), ([3, 1, 2], &[9; 6][..]));
    assert_eq!(bytes_of(&set.test), [8, 8, 8, 8, 8, 8, 1, 2, 3, 1, 2, 3]);
}

#[test]
fn bad_folders_are_named() {
    let dir = folder(&["a", "b"]);
    let path = dir.path();
    check("folder", path, &["a: has no images (png, jpg", "fill or delete the folder"]);
    for file in ["a/1.png", "b/1.png"] {
        solid(4, 3, [1, 2, 3]).save(path.join(file)).unwrap();
    }
    check("folder", path, &["has one image per class"]);
    solid(5, 3, [1, 2, 3]).save(path.join("b/2.png")).unwrap();
    check("folder", path, &["b/2.png: is 5x3 pixels but ", " is 4x3; give all one size with --image-size"]);
    fs::write(path.join("b/2.png"), "plain text").unwrap();
    check("folder", path, &["b/2.png: is not a known kind of image; expected an image file (PNG,"]);
    let whole = fs::read(path.join("a/1.png")).unwrap();
    fs::write(path.join("b/2.png"), &whole[..whole.len() - 20]).unwrap();
    check("folder", path, &["b/2.png: cannot be decoded (", "replace or delete it"]);
    check("folder", &path.join("a"), &["has no class folders"]);
    check(
        "folder",
        &path.join("a/1.png"),
        &["is a file; expected a folder with one folder of images per class"],
    );
    check("folder", &path.join("none"), &["no such folder"]);

    let dir = folder(&["train/a", "test/b"]);
    solid(1, 1, [1; 3]).save(dir.path().join("train/a/1.png")).unwrap();
    solid(1, 1, [1; 3]).save(dir.path().join("test/b/1.png")).unwrap();
    check("folder", dir.path(), &["test: class \"b\" is not in ", "every class needs training images"]);
    fs::remove_dir_all(dir.path().join("test")).unwrap();
    check("folder", dir.path(), &["has train/ but no test/ or val/ beside it", "\"folder:"]);
}

#[test]
#[cfg(unix)]
fn broken_links_are_named() {
    let dir = folder(&["a"]);
    solid(1, 1, [1; 3]).save(dir.path().join("a/1.png")).unwrap();
    std::os::unix::fs::symlink("/no/such/file", dir.path().join("a/2.png")).unwrap();
    check("folder", dir.path(), &["a/2.png: no such file; expected an image file"]);
}

#[test]
fn single_images_fit_the_model() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("image.png");
    RgbaImage::from_fn(2, 1, |x, _| Rgba([x as u8 * 255, 51, 0, 9])).save(&path).unwrap();
    let same = read_image(&path, [3, 1, 2]).unwrap();
    assert_eq!(
        (same.resized_from, same.pixels),
        (None, vec![0.0, 51.0 * (1.0 / 255.0), 0.0, 1.0, 51.0 * (1.0 / 255.0), 0.0])
    );
    let resized = read_image(&path, [1, 4, 6]).unwrap();
    assert_eq!((resized.resized_from, resized.pixels.len()), (Some([1, 2]), 24));
    assert!(resized.pixels[0] < resized.pixels[5]);
    for (image, message) in [([2, 1, 2], "2 are wanted"), ([3, 0, 2], "cannot be resized to 2x0 pixels")] {
        assert!(read_image(&path, image).unwrap_err().to_string().contains(message));
    }
    assert!(
        read_image(dir.path(), [3, 1, 2])
            .unwrap_err()
            .to_string()
            .contains("is a folder; expected an image file")
    );
}
