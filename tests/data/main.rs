//! Every data format, read from small files that the tests write themselves; every kind of bad input, with its message.

mod cifar;
mod damage;
mod folder;
mod idx;
mod limits;
mod tensors;

use std::path::Path;

use wgrad::data::{DIGITS_CREDIT, DataSource, Dataset, Images, Split};
use wgrad::error::{Error, Result};

fn load(kind: &str, path: &Path) -> Result<Dataset> {
    Dataset::load(&format!("{kind}:{}", path.display()).parse().unwrap(), 1, &|_, _| ())
}

/// The message of loading must contain every part, and follow the style of the house.
fn check(kind: &str, path: &Path, parts: &[&str]) {
    let error = load(kind, path).expect_err(&format!("{parts:?} expected"));
    assert!(matches!(error, Error::Data(_)), "{error:?}");
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert!(!message.ends_with('.') && !message.contains("  "), "{message}");
}

fn bytes_of(split: &Split) -> &[u8] {
    match split.images() {
        Images::U8 { data, .. } => data,
        other => panic!("bytes expected: {other:?}"),
    }
}

#[test]
fn digits_are_all_there() {
    let digits = Dataset::load(&DataSource::Digits, 0, &|_, _| ()).unwrap();
    assert_eq!(digits.train.len() + digits.test.len(), 1797);
    assert_eq!((digits.image, digits.classes.len()), ([1, 8, 8], 10));
    let count = |split: &Split, class| split.labels().iter().filter(|&&label| label == class).count();
    let totals = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180];
    for (class, total) in totals.into_iter().enumerate() {
        let train = count(&digits.train, class as i32);
        assert_eq!(train + count(&digits.test, class as i32), total, "class {class}");
        assert!((train as f64 - 0.8 * total as f64).abs() <= 1.0, "class {class}: {train} of {total}");
    }
    // The first row of the file is in one of the splits, first among its class or not.
    let first = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0];
    let rows = |split: &Split| bytes_of(split).chunks(64).position(|row| row.starts_with(&first));
    let (split, row) = match rows(&digits.train) {
        Some(row) => (&digits.train, row),
        None => (&digits.test, rows(&digits.test).expect("the first row is in a split")),
    };
    assert_eq!(split.labels()[row], 0);
    assert_eq!(split.pixels(&[row as u32], None).unwrap()[2..5], [5.0 / 16.0, 13.0 / 16.0, 9.0 / 16.0]);
    assert!(DIGITS_CREDIT.contains("Alpaydin"));
}

#[test]
fn the_seed_draws_the_split_of_the_digits() {
    let labels = |seed| Dataset::load(&DataSource::Digits, seed, &|_, _| ()).unwrap().train.labels().to_vec();
    assert_eq!(labels(3), labels(3));
    assert_ne!(labels(3), labels(4));
}
