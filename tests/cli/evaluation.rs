//! `wgrad eval` and `wgrad predict`.

use std::sync::LazyLock;

use safetensors::SafeTensors;

use crate::Place;
use crate::files::{TINY, bytes, labels, serialize, tiny_tensors, write_pets, write_png, write_tiny};

/// A folder with a run on digits, which the tests only read.
static DIGITS: LazyLock<(Place, String)> = LazyLock::new(|| {
    let place = Place::new();
    let ran = place.ok("train --device cpu --max-steps 30 --out run");
    let line = ran.out.lines().find(|line| line.starts_with("test accuracy")).unwrap().to_string();
    (place, line)
});

#[test]
fn eval_finds_what_train_found() {
    let (place, result) = &*DIGITS;
    let ran = place.ok("eval run --device cpu --logits logits.safetensors");
    assert!(ran.out.contains(result.as_str()), "{result} is not in: {}", ran.out);
    assert!(ran.out.contains("logits [359, 10] and labels written to logits.safetensors"), "{}", ran.out);

    let bytes = place.read("logits.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let [logits, labels] = ["logits", "labels"].map(|name| file.tensor(name).unwrap());
    assert_eq!((logits.shape(), labels.shape()), (&[359, 10][..], &[359][..]));
    let logits: Vec<f32> =
        logits.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let labels = labels.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
    let best = |row: &[f32]| (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as i64;
    let right = logits.chunks_exact(10).zip(labels).filter(|(row, label)| best(row) == *label).count();
    assert!(result.contains(&format!("({right} of 359 images)")), "{right}: {result}");
}

#[test]
fn batch_sizes_do_not_change_the_result() {
    let (place, result) = &*DIGITS;
    let accuracy = result.split(',').next().unwrap();
    for size in [1, 7, 1000] {
        let ran = place.ok(&format!("eval run --device cpu --batch-size {size}"));
        assert!(ran.out.contains(accuracy), "batches of {size}: {}", ran.out);
    }
}

#[test]
fn eval_takes_other_data_that_fits() {
    let place = Place::new();
    write_tiny(&place);
    place.ok(&format!("train {TINY} --epochs 3 --out run"));
    place.write("same.safetensors", serialize(&tiny_tensors(), None));
    assert!(place.ok("eval run --device cpu --data tensors:same.safetensors").out.contains("of 20 images"));

    place.fails(
        "eval run --device cpu --data digits",
        1,
        &["[1, 8, 8]", "10 classes", "[1, 6, 6]", "3 classes"],
    );
    let two = [
        bytes("train.images", &[2, 1, 6, 6], vec![1; 72]),
        labels("train.labels", &[0, 1]),
        bytes("test.images", &[1, 1, 6, 6], vec![1; 36]),
        labels("test.labels", &[1]),
    ];
    place.write("two.safetensors", serialize(&two, None));
    place.fails("eval run --device cpu --data tensors:two.safetensors", 1, &["2 classes", "3 classes"]);
    place.fails(
        "eval run --device cpu --logits no/such/logits.safetensors",
        1,
        &["cannot write no/such/logits"],
    );
    place.fails("eval run --device cpu --logits /dev/null", 1, &["/dev/null: is a folder or a device"]);
    place.fails("eval run --device cpu --logits run", 1, &["run: is a folder or a device"]);
}

/// A zero of the data set, in 16 shades.
const ZERO: [[u8; 8]; 8] = [
    [0, 0, 5, 13, 9, 1, 0, 0],
    [0, 0, 13, 15, 10, 15, 5, 0],
    [0, 3, 15, 2, 0, 11, 8, 0],
    [0, 4, 12, 0, 0, 8, 8, 0],
    [0, 5, 8, 0, 0, 9, 8, 0],
    [0, 4, 11, 0, 1, 12, 7, 0],
    [0, 2, 14, 5, 10, 12, 0, 0],
    [0, 0, 6, 13, 10, 0, 0, 0],
];

fn zero(x: u32, y: u32) -> u8 {
    (u16::from(ZERO[y as usize][x as usize]) * 255 / 16) as u8
}

#[test]
fn predict_names_the_most_probable_classes() {
    let (place, _) = &*DIGITS;
    write_png(place, "zero.png", [8, 8], zero);
    write_png(place, "large.png", [16, 24], |x, y| zero(x / 2, y / 3));
    let ran = place.ok("predict run zero.png large.png --top 3 --json --device cpu");
    ran.remarks(&["note: large.png is 24x16, resized to 8x8"]);
    assert!(!ran.err.contains("zero.png"), "{}", ran.err);
    let found = ran.json();
    assert_eq!(found.as_array().unwrap().len(), 2);
    for (image, name) in found.as_array().unwrap().iter().zip(["zero.png", "large.png"]) {
        assert_eq!(image["image"], name);
        let top = image["top"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        let probabilities: Vec<f64> =
            top.iter().map(|guess| guess["probability"].as_f64().unwrap()).collect();
        assert!(probabilities.is_sorted_by(|a, b| a >= b), "{probabilities:?}");
        assert!(probabilities.iter().sum::<f64>() <= 1.0 + 1e-6);
    }
    assert_eq!(found[0]["top"][0]["class"], "0", "{found}");

    let all = place.ok("predict run zero.png --top 99 --json --device cpu").json();
    let top = all[0]["top"].as_array().unwrap();
    assert_eq!(top.len(), 10);
    let sum: f64 = top.iter().map(|guess| guess["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");

    let shown = place.ok("predict run zero.png --top 1 --device cpu").out;
    assert!(shown.contains("zero.png") && shown.contains("probability %"), "{shown}");
}

#[test]
fn more_images_than_a_batch_are_predicted_alike() {
    let (place, _) = &*DIGITS;
    write_png(place, "many.png", [8, 8], zero);
    let many = "many.png ".repeat(37);
    let found = place.ok(&format!("predict run {many} --top 1 --json --device cpu")).json();
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 37);
    let first = found[0]["top"][0]["class"].as_str().unwrap();
    assert!(found.iter().all(|image| image["top"][0]["class"] == first));
}

#[test]
fn colour_is_turned_to_what_the_model_takes() {
    let (place, _) = &*DIGITS;
    let colour = image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([zero(x, y); 3]));
    colour.save(place.path("colour.png")).unwrap();
    write_png(place, "grey.png", [8, 8], zero);
    let found = place.ok("predict run colour.png grey.png --json --device cpu").json();
    assert_eq!(found[0]["top"], found[1]["top"]);

    let pets = Place::new();
    write_pets(&pets);
    image::RgbImage::new(8, 6).save(pets.path("pets/dog/colour.png")).unwrap();
    pets.write("net.toml", crate::files::DROPOUT_NET);
    let ran =
        pets.ok("train --data folder:pets --model net.toml --batch-size 4 --epochs 1 --device cpu --out run");
    assert!(ran.out.contains("of 3x6x8"), "{}", ran.out);
    write_png(&pets, "grey.png", [8, 6], |x, _| (x * 20) as u8);
    let found = pets.ok("predict run grey.png --json --device cpu").json();
    let class = found[0]["top"][0]["class"].as_str().unwrap();
    assert!(["cat", "dog"].contains(&class), "{found}");
}

#[test]
fn what_is_no_image_is_named() {
    let (place, _) = &*DIGITS;
    write_png(place, "good.png", [8, 8], zero);
    place.write("notes.txt", "not an image");
    place.write("empty.png", "");
    let cut = place.read("good.png");
    place.write("cut.png", &cut[..cut.len() / 2]);
    std::fs::create_dir_all(place.path("nothing")).unwrap();
    for (image, reason) in [
        ("notes.txt", "is not a known kind of image"),
        ("empty.png", "empty.png"),
        ("cut.png", "cannot be decoded"),
        ("missing.png", "missing.png"),
        ("nothing", "is a folder without images"),
    ] {
        place.fails(&format!("predict run good.png {image} --device cpu"), 1, &[image, reason]);
    }
}
