//! `wgrad predict` over files, folders and patterns, its formats, and its explanations.

use std::sync::LazyLock;

use crate::Place;
use crate::files::{DROPOUT_NET, write_pets, write_png};

/// A run on the folder `pets`, whose pictures of cats and dogs are told apart easily, with running averages.
static PETS: LazyLock<Place> = LazyLock::new(|| {
    let place = Place::new();
    write_pets(&place);
    place.write("net.toml", DROPOUT_NET);
    place.ok("train --data folder:pets --model net.toml --batch-size 8 --epochs 8 --lr 0.05 --ema-decay 0.5 --device cpu --out run");
    place.write("album/deep/notes.txt", "no picture");
    write_png(&place, "album/a.png", [8, 6], |x, _| (x * 20) as u8);
    write_png(&place, "album/deep/b.PNG.png", [8, 6], |_, y| (y * 40) as u8);
    write_png(&place, "album/.hidden.png", [8, 6], |_, y| (y * 40) as u8);
    place
});

fn images(ran: &crate::Ran) -> Vec<String> {
    let found = ran.json();
    found.as_array().unwrap().iter().map(|image| image["image"].as_str().unwrap().to_string()).collect()
}

#[test]
fn files_folders_and_patterns_are_predicted_in_order() {
    let place = &*PETS;
    let found = images(&place.ok("predict run album pets/dog/3.png --json --device cpu"));
    assert_eq!(found, ["album/a.png", "album/deep/b.PNG.png", "pets/dog/3.png"]);
    let found = images(&place.ok("predict run album/**/*.png --format json --device cpu"));
    assert_eq!(found, ["album/a.png", "album/deep/b.PNG.png"]);
    // A picture that is in a folder too is predicted once, one that is named twice as often as that.
    let found = images(&place.ok("predict run pets/c?t pets/cat/[0-3].png --json --device cpu"));
    assert_eq!(found.len(), 10);
    let found = images(&place.ok("predict run album/a.png album/a.png --json --device cpu"));
    assert_eq!(found.len(), 2);
    place.fails("predict run none/*.png --device cpu", 1, &["none/*.png: matches no image"]);
    place.fails("predict run a[ --device cpu", 2, &["a[: is no pattern"]);
    place.write("nothing/notes.txt", "no picture");
    place.fails("predict run nothing --device cpu", 1, &["nothing: is a folder without images"]);
}

#[test]
fn csv_has_a_line_for_each_class() {
    let place = &*PETS;
    let ran = place.ok("predict run album --format csv --device cpu");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!((lines.len(), lines[0]), (5, "image,rank,class,probability,explanation"));
    let json = place.ok("predict run album --json --device cpu").json();
    let (class, probability) = (&json[0]["top"][0]["class"], &json[0]["top"][0]["probability"]);
    let wanted = format!("album/a.png,1,{},{probability},", class.as_str().unwrap());
    assert_eq!(lines[1], wanted);
    assert!(lines[2].starts_with("album/a.png,2,"), "{}", lines[2]);
    place.fails("predict run album --format xml", 2, &["invalid value 'xml'"]);
    place.fails("predict run album --json --format csv", 2, &["cannot be used with"]);
}

#[test]
fn bad_pictures_are_left_out_on_request() {
    let place = Place::new();
    place.copy_run(&PETS);
    place.write("mixed/bad.png", "no picture");
    write_png(&place, "mixed/good.png", [8, 6], |x, _| x as u8);
    write_png(&place, "mixed/large.png", [16, 12], |x, _| x as u8);
    write_png(&place, "mixed/wide.png", [32, 12], |x, _| x as u8);
    place.fails("predict run mixed --device cpu", 1, &["mixed/bad.png: is not a known kind of image"]);
    let ran = place.ok("predict run mixed missing.png --skip-bad --json --device cpu");
    assert_eq!(images(&ran).len(), 3);
    ran.remarks(&["warning: left out: mixed/bad.png"]);
    ran.remarks(&["warning: left out: missing.png"]);
    ran.remarks(&["warning: 2 of 5 images could not be read"]);
    ran.remarks(&["note: mixed/large.png is 12x16, resized to 6x8, and 1 others alike"]);
    place.fails("predict run mixed/bad.png --skip-bad --device cpu", 1, &["no image could be read"]);
}

#[test]
fn running_averages_and_views_are_used_on_request() {
    let place = &*PETS;
    let found = |flags: &str| place.ok(&format!("predict run pets --json --device cpu {flags}")).json();
    let plain = found("");
    assert_ne!(plain, found("--ema"));
    assert_ne!(plain, found("--tta flip"));
    assert_eq!(plain, found("--tta none"));
    // A picture that is its own mirror image has one view.
    write_png(place, "same.png", [8, 6], |x, y| (if x < 4 { x } else { 7 - x } * 30 + y) as u8);
    let of = |flags: &str| {
        let json = place.ok(&format!("predict run same.png --json --device cpu {flags}")).json();
        json[0]["top"][0]["probability"].as_f64().unwrap()
    };
    assert!((of("") - of("--tta flip")).abs() < 1e-6);
}

#[test]
fn explanations_are_pictures_that_are_large_enough_to_see() {
    let place = Place::new();
    place.copy_run(&PETS);
    write_png(&place, "one/cat.png", [250, 12], |x, _| x as u8);
    write_png(&place, "two/cat.png", [8, 6], |x, _| (x * 20) as u8);
    let found = place.ok("predict run one two --explain why/so --json --device cpu").json();
    for (image, size) in [(0, (250, 12)), (1, (28 * 8, 28 * 6))] {
        let (class, file) = (&found[image]["top"][0]["class"], &found[image]["explanation"]);
        let (class, file) = (class.as_str().unwrap(), file.as_str().unwrap());
        assert!(file.ends_with(&format!("{class}.png")), "{found}");
        let picture = image::open(place.path(file)).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), size);
        assert!(picture.pixels().any(|pixel| pixel[0] != pixel[2]), "{file} has no heat");
    }
    assert_ne!(found[0]["explanation"], found[1]["explanation"]);
    let shown = place.ok("predict run one --explain why --device cpu").out;
    assert!(shown.contains("explanation") && shown.contains("why/cat-"), "{shown}");
    place.fails(
        "predict run one --explain run/recipe.toml --device cpu",
        1,
        &["cannot create run/recipe.toml"],
    );

    let plain = "layers = [\"flatten\", { linear = { out_features = \"classes\" } }]";
    place.write("plain.toml", plain);
    write_pets(&place);
    place
        .ok("train --data folder:pets --model plain.toml --batch-size 8 --epochs 2 --device cpu --out plain");
    place.ok("predict plain two --explain parts --device cpu").remarks(&["hide parts of the image instead"]);
}
