//! Single operations against torchvision's, and what is drawn.

use std::collections::BTreeSet;

use safetensors::SafeTensors;

use super::affine::Matrix;
use super::*;

/// Made by scripts/golden_augment.py.
const GOLDENS: &[u8] = include_bytes!("../../tests/goldens/augment.safetensors");

/// An image as PyTorch has it, `C, H, W`.
fn image(file: &SafeTensors, name: &str) -> (Vec<u8>, [usize; 3]) {
    let tensor = file.tensor(name).unwrap();
    let &[c, h, w] = tensor.shape() else { panic!("{name}: {:?}", tensor.shape()) };
    (tensor.data().to_vec(), [c, h, w])
}

/// An image as data sets hold it, `H, W, C`.
fn channels_last(planes: &[u8], [c, h, w]: [usize; 3]) -> Vec<u8> {
    let places = (0..h * w).flat_map(|pixel| (0..c).map(move |channel| channel * h * w + pixel));
    places.map(|at| planes[at]).collect()
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
        let ([_, height, width], stored) = (shape, channels_last(&bytes, shape));
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
            let mut got = vec![0; bytes.len()];
            let source = Pixels { bytes: &stored, image: shape };
            source.transform(&parameters, [height, width], &mut got);
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

/// A byte of a transformed image straight from the definition in [`Parameters`], as the shader computes it.
fn sampled(
    bytes: &[u8],
    image: [usize; 3],
    parameters: &Parameters,
    wanted: [usize; 2],
    at: [usize; 3],
) -> u8 {
    let ([channels, height, width], [channel, row, column]) = (image, at);
    let twice = |at: usize, length: usize| 2 * at as i64 + 1 - length as i64;
    let (u, v) = (twice(column, wanted[1]), twice(row, wanted[0]));
    let words: Vec<i64> = parameters.matrix().iter().map(|&word| i64::from(word)).collect();
    let place = |first: usize| words[first] * u + words[first + 1] * v + words[first + 2];
    let window = parameters.window();
    let tap = |at: i64, [first, end]: [u32; 2], length: usize| -> Option<usize> {
        let (first, last) = (i64::from(first), i64::from(end) - 1);
        let inside = match parameters.edge() {
            _ if (first..=last).contains(&at) => at,
            Edge::Black => return None,
            Edge::Clamp => at,
            Edge::Reflect => (if at < first { 2 * first } else { 2 * last }) - at,
        };
        Some((inside.min(last).max(first).max(0) as usize).min(length - 1))
    };
    let byte = |x: i64, y: i64| -> u64 {
        let (x, y) = (tap(x, window.columns, width), tap(y, window.rows, height));
        x.zip(y).map_or(0, |(x, y)| u64::from(bytes[(y * width + x) * channels + channel]))
    };
    let (x, y) = (place(0), place(3));
    if parameters.nearest() {
        return byte((x + 0x8000) >> 16, (y + 0x8000) >> 16) as u8;
    }
    let [fx, fy] = [x, y].map(|place| (place & 0xffff) as u64 >> 5);
    let (x, y) = (x >> 16, y >> 16);
    let upper = (2048 - fx) * byte(x, y) + fx * byte(x + 1, y);
    let lower = (2048 - fx) * byte(x, y + 1) + fx * byte(x + 1, y + 1);
    (((2048 - fy) * upper + fy * lower + (1 << 21)) >> 22) as u8
}

/// The ways to go over an image quickly, against the definition, for whatever may be drawn.
#[test]
fn transformed_images_are_what_their_parameters_say() {
    let affine = Affine { degrees: 170.0, translate: [0.6, 0.4], scale: [0.3, 2.5], shear: 30.0 };
    let crops = [
        Crop::Centre,
        Crop::Padded { padding: 5, reflect: false },
        Crop::Padded { padding: 5, reflect: true },
        Crop::Resized { scale: [0.05, 1.0], ratio: [0.3, 3.0] },
    ];
    for channels in [1, 2, 3, 4] {
        let image = [channels, 13, 17];
        let bytes: Vec<u8> = (0..image.iter().product::<usize>()).map(|at| (at * 73 % 251) as u8).collect();
        for (number, crop) in crops.into_iter().enumerate() {
            for sample in 0..24 {
                let mut drawn =
                    Augmentation { crop, horizontal_flip: 0.5, vertical_flip: 0.5, ..Augmentation::NONE };
                drawn.nearest = sample % 4 == 3;
                if sample % 3 == 2 {
                    drawn.affine = affine;
                }
                let wanted = if sample % 2 == 0 { [13, 17] } else { [19, 11] };
                let parameters = drawn.draw((5, 0, sample), [13, 17], wanted);
                let mut got = vec![7; channels * wanted[0] * wanted[1]];
                Pixels { bytes: &bytes, image }.transform(&parameters, wanted, &mut got);
                for (place, &got) in got.iter().enumerate() {
                    let at =
                        [place / wanted[1] / wanted[0], place / wanted[1] % wanted[0], place % wanted[1]];
                    let want = sampled(&bytes, image, &parameters, wanted, at);
                    assert_eq!(got, want, "{channels} channels, crop {number}, sample {sample}, {at:?}");
                }
            }
        }
    }
}

/// The hue without division, against the formula, for every pixel whose bytes are multiples of 5.
#[test]
fn hues_are_divided_exactly() {
    const SECTOR: i32 = 1 << 16;
    for share in [-0.5, -0.31, 0.0, 0.07, 0.5] {
        let shift = Colour::hue(share);
        for red in (0..=255u8).step_by(5) {
            let pairs: Vec<[u8; 2]> =
                (0..=255).step_by(5).flat_map(|g| (0..=255).step_by(5).map(move |b| [g, b])).collect();
            let planes = |of: usize| pairs.iter().map(move |pair| pair[of]);
            let mut got: Vec<u8> = pairs.iter().map(|_| red).chain(planes(0)).chain(planes(1)).collect();
            shift.apply(&mut got, [3, 1, pairs.len()], &mut vec![]);
            for (at, &[green, blue]) in pairs.iter().enumerate() {
                let [r, g, b] = [red, green, blue].map(i32::from);
                let (high, low) = (r.max(g).max(b), r.min(g).min(b));
                let hue = match high - low {
                    0 => 0,
                    range if high == r => (g - b) * SECTOR / range,
                    range if high == g => 2 * SECTOR + (b - r) * SECTOR / range,
                    range => 4 * SECTOR + (r - g) * SECTOR / range,
                };
                let hue = (hue + shift.value).rem_euclid(6 * SECTOR);
                let share = ((high - low) * (hue % SECTOR) + SECTOR / 2) >> 16;
                let (falling, rising) = (high - share, low + share);
                let want = match hue / SECTOR {
                    0 => [high, rising, low],
                    1 => [falling, high, low],
                    2 => [low, high, rising],
                    3 => [low, falling, high],
                    4 => [rising, low, high],
                    _ => [high, low, falling],
                };
                let got = [0, 1, 2].map(|channel| i32::from(got[channel * pairs.len() + at]));
                assert_eq!(got, want, "{:?} by {}", [red, green, blue], shift.value);
            }
        }
    }
}
