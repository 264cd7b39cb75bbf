//! Single operations against torchvision's, and what is drawn.

use std::collections::BTreeSet;

use safetensors::SafeTensors;

use super::affine::Matrix;
use super::*;

/// Made by scripts/golden_augment.py.
const GOLDENS: &[u8] = include_bytes!("../../tests/goldens/augment.safetensors");

/// An image as the operator has it, `H, W, C`.
fn image(file: &SafeTensors, name: &str) -> (Vec<u8>, [usize; 3]) {
    let tensor = file.tensor(name).unwrap();
    let &[c, h, w] = tensor.shape() else { panic!("{name}: {:?}", tensor.shape()) };
    let bytes = (0..h * w).flat_map(|pixel| (0..c).map(move |channel| channel * h * w + pixel));
    (bytes.map(|at| tensor.data()[at]).collect(), [c, h, w])
}

fn geometries([height, width]: [usize; 2]) -> Vec<(&'static str, Parameters)> {
    let middle = Matrix::axes([1.0; 2], [0.5 * width as f64 - 0.5, 0.5 * height as f64 - 0.5]);
    let whole = Rectangle::whole([height, width]);
    let black = |matrix: Matrix, nearest| Parameters::new(matrix.then(middle), whole, Edge::Black, nearest);
    let affine = |degrees, translate, scale, shear| {
        black(Matrix::inverse_affine([0.0; 2], degrees, translate, scale, shear), false)
    };
    let turned = |degrees: f64| Matrix::inverse_affine([0.0; 2], -degrees, [0.0; 2], 1.0, [0.0; 2]);
    let shifted = |by, edge| Parameters::new(Matrix::axes([1.0; 2], by).then(middle), whole, edge, false);
    let crop = Rectangle { columns: [5, 22], rows: [3, 14] };
    let factors = [17.0 / width as f64, 11.0 / height as f64];
    let resized = Matrix::axes(factors, [5.0 + 8.5 - 0.5, 3.0 + 5.5 - 0.5]);
    vec![
        ("rotate", black(turned(33.0), false)),
        ("rotate-nearest", black(turned(-71.0), true)),
        ("affine", affine(20.0, [3.0, -2.0], 1.3, [10.0, 0.0])),
        ("shear-y", affine(0.0, [0.0; 2], 0.8, [0.0, -25.0])),
        ("resized-crop", Parameters::new(resized, crop, Edge::Clamp, false)),
        ("padded-crop", shifted([3.0, -3.0], Edge::Black)),
        ("reflected-crop", shifted([-4.0, 4.0], Edge::Reflect)),
        ("flips", black(Matrix::axes([-1.0; 2], [0.0; 2]), false)),
    ]
}

fn colours() -> Vec<(&'static str, Colour)> {
    let plain = |op| Colour { op, value: 0 };
    vec![
        ("brightness", Colour::blend(ColourOp::Brightness, 1.7)),
        ("darkness", Colour::blend(ColourOp::Brightness, 0.35)),
        ("contrast", Colour::blend(ColourOp::Contrast, 1.6)),
        ("less-contrast", Colour::blend(ColourOp::Contrast, 0.3)),
        ("saturation", Colour::blend(ColourOp::Saturation, 1.8)),
        ("less-saturation", Colour::blend(ColourOp::Saturation, 0.4)),
        ("hue", Colour::hue(0.21)),
        ("hue-back", Colour::hue(-0.43)),
        ("greyscale", plain(ColourOp::Greyscale)),
        ("sharper", Colour::blend(ColourOp::Sharpness, 1.9)),
        ("softer", Colour::blend(ColourOp::Sharpness, 0.1)),
        ("posterize", Colour::posterize(3)),
        ("solarize", Colour::solarize(100.5)),
        ("autocontrast", plain(ColourOp::AutoContrast)),
        ("equalize", plain(ColourOp::Equalize)),
    ]
}

#[test]
fn operations_are_torchvisions_within_one_grey_level() {
    let file = SafeTensors::deserialize(GOLDENS).unwrap();
    let mut compared = 0;
    for channels in [1, 3] {
        let (bytes, shape) = image(&file, &format!("{channels}/image"));
        let [_, height, width] = shape;
        let mut check = |name: &str, got: Vec<u8>| {
            let name = format!("{channels}/{name}");
            if file.tensor(&name).is_err() {
                return;
            }
            let (want, _) = image(&file, &name);
            let off = got.iter().zip(&want).filter(|(got, want)| got.abs_diff(**want) > 1).count();
            // The nearest pixel may be another where two are about as near.
            let allowed = if name.ends_with("nearest") { want.len() / 200 } else { 0 };
            let worst = got.iter().zip(&want).map(|(got, want)| got.abs_diff(*want)).max();
            assert!(
                got.len() == want.len() && off <= allowed,
                "{name}: {off} of {} differ, up to {worst:?}",
                want.len()
            );
            compared += 1;
        };
        for (name, parameters) in geometries([height, width]) {
            let mut got = vec![];
            let source = Pixels { bytes: &bytes, image: shape };
            source.transform(&parameters, [height, width], |pixel| got.extend_from_slice(pixel));
            check(name, got);
        }
        for (name, colour) in colours() {
            let mut got = bytes.clone();
            colour.apply(&mut got, shape, &mut vec![]);
            check(name, got);
        }
    }
    assert_eq!(compared, file.len() - 2, "all but the images are compared");
}

#[test]
fn draws_depend_on_seed_epoch_and_sample_alone() {
    let all = Augmentation {
        crop: Crop::Padded { padding: 4, reflect: false },
        horizontal_flip: 0.5,
        ..Augmentation::NONE
    };
    let draw = |key| all.draw(key, [32, 32], [32, 32]);
    let keys = [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1)];
    let drawn: BTreeSet<[i32; WORDS]> = keys.map(|key| draw(key).0).into_iter().collect();
    assert_eq!(drawn.len(), keys.len());
    assert_eq!(draw((1, 0, 1)), draw((1, 0, 1)));
}

#[test]
fn alternating_flips_show_both_sides_in_two_epochs() {
    let flips = Augmentation { alternating_flip: true, ..Augmentation::NONE };
    let flipped = |epoch, sample| flips.draw((3, epoch, sample), [4, 4], [4, 4]).matrix()[0] < 0;
    let first = (0..1000).filter(|&sample| flipped(0, sample)).count();
    assert!((400..600).contains(&first), "{first}");
    for sample in 0..1000 {
        assert_ne!(flipped(0, sample), flipped(1, sample));
        assert_eq!(flipped(0, sample), flipped(2, sample));
    }
}

#[test]
fn padded_crops_take_every_place_alike() {
    let crop = Augmentation { crop: Crop::Padded { padding: 2, reflect: false }, ..Augmentation::NONE };
    let mut counts = [0; 5];
    for sample in 0..5000 {
        let parameters = crop.draw((1, 0, sample), [8, 8], [8, 8]);
        let middle = 65536 * 7 / 2;
        counts[((parameters.matrix()[2] - middle) / 65536 + 2) as usize] += 1;
    }
    assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
}

#[test]
fn mixed_batches_keep_their_conventions() {
    let both = Mixing { mixup_alpha: 0.8, cutmix_alpha: 1.0, mixup_prob: 0.75, switch_prob: 0.25 };
    let mut counts = [0; 3];
    for position in 0..4000 {
        let [target, pixel, left, right, top, bottom] = both.draw((1, 2, position), [20, 30]);
        let area = (right - left) * (bottom - top);
        if target == 1.0 && pixel == 1.0 && area == 0.0 {
            counts[0] += 1;
        } else if pixel == 1.0 {
            counts[1] += 1;
            // The box is what of it lies in the image.
            assert!((target - (1.0 - area / 600.0)).abs() < 1e-6 && right <= 30.0 && bottom <= 20.0);
        } else {
            counts[2] += 1;
            assert!(target == pixel && (0.0..=1.0).contains(&target));
        }
    }
    // Boxes without area count as unmixed.
    let [none, cut, mix] = counts;
    assert!(
        (950..1150).contains(&none) && (650..850).contains(&cut) && (2100..2400).contains(&mix),
        "{counts:?}"
    );
    assert_eq!([0, 1, 2, 3, 4].map(|place| partner(place, 5)), [1, 0, 3, 2, 4]);
}

/// Parameters of every setting stay within what the shader can count.
#[test]
fn rectangles_stay_in_the_image() {
    let erasing = Erasing { p: 1.0, ..Erasing::NONE };
    let crop = Crop::Resized { scale: [0.01, 1.0], ratio: [0.1, 10.0] };
    let all = Augmentation { crop, erasing, cutout: 9, ..Augmentation::NONE };
    for sample in 0..2000 {
        let parameters = all.draw((1, 0, sample), [13, 40], [8, 24]);
        let window = parameters.window();
        assert!(!window.is_empty() && window.columns[1] <= 40 && window.rows[1] <= 13, "{window:?}");
        for erased in parameters.erased() {
            assert!(erased.columns[1] <= 24 && erased.rows[1] <= 8, "{erased:?}");
        }
    }
}
