//! Folders of pictures of any size, their cache, and bad files in them.

use std::cell::Cell;

use super::super::{Normalization, read_resized_image};
use super::*;

#[test]
fn large_sets_are_decoded_lazily_to_the_same_batches() {
    let dir = tempfile::tempdir().unwrap();
    for (class, name) in ["cat", "dog"].iter().enumerate() {
        fs::create_dir(dir.path().join(name)).unwrap();
        for number in 0..10u8 {
            let pixel = |x, y| image::Rgb([x as u8 * 20, y as u8 * 30 + number, class as u8 * 100 + number]);
            let image = image::RgbImage::from_fn(5, 4, pixel);
            image.save(dir.path().join(name).join(format!("{number}.png"))).unwrap();
        }
    }
    let calls = Cell::new(0);
    let progress = |_, total| {
        assert_eq!(total, 20);
        calls.set(calls.get() + 1);
    };
    let options = LoadOptions { seed: 3, ..LoadOptions::default() };
    let eager = load_within(20 * 60, dir.path(), &options, &progress).unwrap();
    let lazy = load_within(20 * 60 - 1, dir.path(), &options, &progress).unwrap();
    // A report of the sizes in each split, twice; then one for each image that is decoded at once.
    assert_eq!(calls.get(), 2 * 2 + 20);
    assert!(matches!(eager.train.images(), Images::U8 { .. }));
    assert!(matches!(lazy.train.images(), Images::Files(_)));
    assert_eq!(eager.image, [3, 4, 5]);
    let normalization = Normalization::of(&eager.train).unwrap();
    assert_eq!(normalization, Normalization::of(&lazy.train).unwrap());
    let samples: Vec<u32> = (0..16).rev().collect();
    let pixels = |set: &Dataset| set.train.pixels(&samples, normalization.as_ref()).unwrap();
    assert_eq!(pixels(&eager), pixels(&lazy));
    assert_eq!(eager.train.labels(), lazy.train.labels());
}

/// Pictures of different sizes, one of them grey, one no picture.
fn mixed(dir: &Path) {
    for (class, name) in ["cat", "dog"].iter().enumerate() {
        fs::create_dir(dir.join(name)).unwrap();
        for number in 0..10u32 {
            let pixel = |x, y| image::Rgb([x as u8 * 5, y as u8 * 7 + number as u8, class as u8 * 100]);
            let image = image::RgbImage::from_fn(20 + number, 31 - number, pixel);
            image.save(dir.join(name).join(format!("{number}.png"))).unwrap();
        }
    }
}

#[test]
fn pictures_of_different_sizes_are_given_one() {
    let dir = tempfile::tempdir().unwrap();
    mixed(dir.path());
    let load = |most, options: &LoadOptions| load_within(most, dir.path(), options, &|_, _| ());
    let error = load(1 << 20, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.ends_with("; give all one size with --image-size"), "{error}");

    let size = Some(ImageSize { shorter: 18, train: 18, image: 16 });
    let options = LoadOptions { seed: 3, size, ..LoadOptions::default() };
    let eager = load(1 << 20, &options).unwrap();
    assert_eq!((eager.image, eager.train.image()), ([3, 16, 16], [3, 18, 18]));
    let cache = dir.path().join("decoded");
    let with_cache = LoadOptions { cache: Some(cache.clone()), ..options.clone() };
    let samples: Vec<u32> = (0..16).rev().collect();
    let pixels =
        |set: &Dataset| (set.train.pixels(&samples, None).unwrap(), set.test.pixels(&[0, 1], None).unwrap());
    let lazy = load(0, &options).unwrap();
    // Made, then read, in memory and by places.
    for most in [1 << 20, 1 << 20, 0] {
        let cached = load(most, &with_cache).unwrap();
        assert_eq!((pixels(&cached), cached.train.labels()), (pixels(&eager), eager.train.labels()));
        assert_eq!(matches!(cached.train.images(), Images::Stored(_)), most == 0);
        assert_eq!(Normalization::of(&cached.train).unwrap(), Normalization::of(&eager.train).unwrap());
    }
    assert_eq!(pixels(&lazy), pixels(&eager));
}

#[test]
fn a_cache_follows_its_files_and_survives_damage() {
    let dir = tempfile::tempdir().unwrap();
    mixed(dir.path());
    let cache = dir.path().join("decoded");
    let size = Some(ImageSize { shorter: 8, train: 8, image: 8 });
    let options = LoadOptions { size, cache: Some(cache.clone()), ..LoadOptions::default() };
    let load = || load(dir.path(), &options, &|_, _| ());
    let first = load().unwrap().train.pixels(&[0], None).unwrap();
    let whole = fs::read(&cache).unwrap();
    // Damage is found and made good.
    for at in [60, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&cache, damaged).unwrap();
        assert_eq!(load().unwrap().train.pixels(&[0], None).unwrap(), first);
        assert_eq!(fs::read(&cache).unwrap(), whole, "byte {at}");
    }
    fs::write(&cache, &whole[..whole.len() - 100]).unwrap();
    load().unwrap();
    assert_eq!(fs::read(&cache).unwrap(), whole);
    // What is no cache is not overwritten.
    fs::write(&cache, "my diary").unwrap();
    assert!(load().unwrap_err().to_string().contains("give --cache another name"));
    fs::write(&cache, &whole).unwrap();
    // A changed picture is decoded again.
    image::RgbImage::new(30, 30).save(dir.path().join("cat/0.png")).unwrap();
    load().unwrap();
    assert_ne!(fs::read(&cache).unwrap(), whole);
}

#[test]
fn bad_files_are_named_or_left_out() {
    let dir = tempfile::tempdir().unwrap();
    mixed(dir.path());
    fs::write(dir.path().join("cat/9.png"), "no picture").unwrap();
    // A header that is right, and pixels that are not.
    let whole = fs::read(dir.path().join("dog/3.png")).unwrap();
    fs::write(dir.path().join("dog/3.png"), &whole[..whole.len() / 2]).unwrap();
    let size = Some(ImageSize { shorter: 8, train: 8, image: 8 });
    let options = LoadOptions { size, ..LoadOptions::default() };
    let load = |options: &LoadOptions| load(dir.path(), options, &|_, _| ());
    let error = load(&options).unwrap_err().to_string();
    assert!(error.contains("9.png"), "{error}");
    let set = load(&LoadOptions { skip_bad: true, ..options }).unwrap();
    assert_eq!(set.train.len() + set.test.len(), 18);
    assert_eq!(set.skipped.len(), 2, "{:?}", set.skipped);
    assert!(set.skipped.iter().any(|reason| reason.contains("3.png")), "{:?}", set.skipped);
}

/// A small file that says it is a picture of 60,000 x 60,000 pixels.
fn bomb(path: &Path) {
    image::RgbImage::new(1, 1).save(path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn pictures_that_would_fill_the_memory_are_named() {
    let dir = tempfile::tempdir().unwrap();
    mixed(dir.path());
    bomb(&dir.path().join("cat/9.png"));
    let size = Some(ImageSize { shorter: 8, train: 8, image: 8 });
    let options = LoadOptions { size, ..LoadOptions::default() };
    let error = load(dir.path(), &options, &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("9.png: is larger than the limit of 512 MiB when it is decoded"), "{error}");
    let set = load(dir.path(), &LoadOptions { skip_bad: true, ..options }, &|_, _| ()).unwrap();
    assert_eq!((set.train.len() + set.test.len(), set.skipped.len()), (19, 1));
    // Few pixels, but not once the shorter side is 64: 64 x 3,840,000.
    image::RgbImage::new(60_000, 1).save(dir.path().join("cat/9.png")).unwrap();
    let size = Some(ImageSize { shorter: 64, train: 64, image: 64 });
    let options = LoadOptions { size, ..LoadOptions::default() };
    let error = load(dir.path(), &options, &|_, _| ()).unwrap_err().to_string();
    let narrow = "9.png: is 60000x1, too narrow to make its shorter side 64 pixels";
    assert!(error.contains(narrow), "{error}");
    let set = load(dir.path(), &LoadOptions { skip_bad: true, ..options }, &|_, _| ()).unwrap();
    assert!(set.skipped.len() == 1 && set.skipped[0].contains(narrow), "{:?}", set.skipped);
    let error = read_resized_image(dir.path().join("cat/9.png"), [3, 64, 64], 64).unwrap_err().to_string();
    assert!(error.contains(narrow), "{error}");
}
