//! `wgrad preview`.

use image::{Rgb, RgbImage};

use crate::Place;
use crate::files::{bytes, floats, labels, serialize, write_pets, write_png, write_tiny};

fn sheet(place: &Place, name: &str) -> RgbImage {
    image::open(place.path(name)).unwrap().into_rgb8()
}

/// The picture in a column and row of a sheet whose pictures are enlarged `factor` times; `[width, height]`.
fn picture(
    sheet: &RgbImage,
    [width, height]: [u32; 2],
    factor: u32,
    [column, row]: [u32; 2],
    lines: u32,
) -> Vec<Rgb<u8>> {
    let (step, tall) = ((width * factor).max(96) + 6, height * factor + lines * 11 + 9);
    let corner = [3 + column * step, 17 + row * tall];
    let at = |x: u32, y: u32| {
        *sheet.get_pixel(corner[0] + x * factor + factor / 2, corner[1] + y * factor + factor / 2)
    };
    (0..height).flat_map(|y| (0..width).map(move |x| at(x, y))).collect()
}

fn mirrored(pixels: &[Rgb<u8>], width: usize) -> Vec<Rgb<u8>> {
    pixels.chunks(width).flat_map(|row| row.iter().rev().copied()).collect()
}

#[test]
fn originals_stand_beside_what_is_made_of_them() {
    let place = Place::new();
    let ran = place.ok("preview digits --horizontal-flip 1 --images 3 --epochs 2 --out sheet.png");
    assert!(ran.out.contains("3 training samples in 2 epochs: sheet.png"), "{}", ran.out);
    let digits = sheet(&place, "sheet.png");
    assert_eq!(digits.dimensions(), (3 * 102 + 3, 17 + 3 * (96 + 11 + 9)));
    for row in 0..3 {
        let [original, first, second] =
            [0, 1, 2].map(|column| picture(&digits, [8, 8], 12, [column, row], 1));
        assert_ne!(original, first);
        assert_eq!((mirrored(&original, 8), &first), (first.clone(), &second));
        assert!(original.iter().all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
    }
    // The same seed draws the same sheet, another one other samples.
    let before = place.read("sheet.png");
    place.ok("preview digits --horizontal-flip 1 --images 3 --epochs 2 --out sheet.png");
    assert!(before == place.read("sheet.png"));
    place.ok("preview digits --horizontal-flip 1 --images 3 --epochs 2 --out sheet.png --seed 5");
    assert!(before != place.read("sheet.png"));
}

#[test]
fn colour_pictures_of_any_size_and_recipes_with_mixing() {
    let place = Place::new();
    write_pets(&place);
    for sample in 0..4 {
        let (size, name) = ([30 + sample, 40], format!("pets/dog/large{sample}.png"));
        let colour = RgbImage::from_fn(size[0], size[1], |x, y| Rgb([x as u8 * 7, y as u8 * 5, 200]));
        colour.save(place.path(name)).unwrap();
    }
    place.write("pets/dog/bad.png", "no picture");
    place.write(
        "r.toml",
        "data = \"folder:pets\"\nimage_size = 16\n[augment]\nmixup_alpha = 1.0\ndegrees = 30.0\n",
    );
    place.fails("preview --recipe r.toml", 1, &["bad.png"]);
    let ran = place.ok("preview --recipe r.toml --skip-bad --images 4");
    ran.remarks(&["1 pictures cannot be read"]);
    let mixed = sheet(&place, "preview.png");
    assert_eq!(mixed.width(), 6 * 102 + 3);
    assert!(picture(&mixed, [16, 16], 6, [1, 0], 2).iter().any(|pixel| pixel[0] != pixel[2]));

    // An odd one out is mixed with nobody.
    place.ok("preview --recipe r.toml --skip-bad --images 3 --out odd.PNG");
    place.fails("preview digits --mixup-alpha 1 --images 1", 2, &["1 sample in a batch"]);
}

#[test]
fn tensors_are_shown_as_far_as_they_are_pictures() {
    let place = Place::new();
    write_tiny(&place);
    place.ok("preview tensors:tiny.safetensors --crop-padding 2 --erasing 1 --images 100");
    let five = [
        floats("train.images", &[2, 5, 2, 3], &[0.5; 60]),
        labels("train.labels", &[0, 1]),
        floats("test.images", &[1, 5, 2, 3], &[-1.0; 30]),
        labels("test.labels", &[1]),
    ];
    place.write("floats.safetensors", serialize(&five, None));
    place.ok("preview tensors:floats.safetensors").remarks(&["note: nothing is done to the samples"]);
    place.fails("preview tensors:floats.safetensors --cutout 1", 2, &["this data set's are f32"]);
    let two = [
        bytes("train.images", &[2, 2, 2, 3], vec![7; 24]),
        labels("train.labels", &[0, 1]),
        bytes("test.images", &[1, 2, 2, 3], vec![9; 12]),
        labels("test.labels", &[1]),
    ];
    place.write("two.safetensors", serialize(&two, None));
    place.ok("preview tensors:two.safetensors --vertical-flip 0.5");
    place.fails("preview tensors:two.safetensors --hue 0.1", 2, &["1 or 3 channels"]);
}

#[test]
fn bad_input_is_named() {
    let place = Place::new();
    write_png(&place, "wide/a/1.png", [9, 1], |x, _| x as u8);
    write_png(&place, "wide/a/2.png", [9, 1], |x, _| x as u8);
    assert!(place.ok("preview").out.contains("preview.png"), "the digits, as in training");
    place.fails("preview nothing", 2, &["unknown data source"]);
    place.fails("preview mnist:nowhere", 1, &["nowhere"]);
    place.fails("preview digits --recipe no.toml", 1, &["no.toml"]);
    place.fails("preview digits --images 0", 2, &["--images"]);
    place.fails("preview digits --out sheet.jpg", 2, &["sheet.jpg", ".png"]);
    place.fails("preview digits --out no/such/sheet.png", 1, &["no/such/sheet.png"]);
    place.fails("preview digits --horizontal-flip 2", 2, &["--horizontal-flip is 2"]);
    place.fails(
        "preview digits --crop-padding 9 --padding-mode reflect",
        2,
        &["less than the image's 8 pixels"],
    );
}
