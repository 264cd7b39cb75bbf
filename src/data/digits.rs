//! The built-in data set: 1,797 handwritten digits of 8x8 pixels with 17 grey levels.

use std::io::Read;
use std::sync::Arc;

use flate2::read::GzDecoder;

use super::dataset::{Dataset, Parts};
use super::split::{Images, Split, stratify};
use crate::error::Result;

/// Whose work the built-in digits are.
pub const DIGITS_CREDIT: &str = "Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak), UCI Machine \
     Learning Repository, CC BY 4.0; the file as shipped by scikit-learn";

const CSV: &[u8] = include_bytes!("../../assets/digits.csv.gz");
const IMAGE: [usize; 3] = [1, 8, 8];

pub(super) fn load(seed: u64) -> Result<Dataset> {
    let (data, labels) = parse();
    let (train, test) = stratify(&labels, seed);
    let all = Split::new(Images::U8 { data: Arc::new(data), scale: 1.0 / 16.0 }, labels, IMAGE)?;
    let classes = (0..10).map(|digit| digit.to_string()).collect();
    Dataset::new(Parts {
        name: "digits".to_string(),
        train: all.subset(&train)?,
        test: all.subset(&test)?,
        classes,
        skipped: vec![],
    })
}

/// Pixels and labels. The file is part of the program, so a fault in it is our own bug.
fn parse() -> (Vec<u8>, Vec<i32>) {
    let mut text = String::new();
    GzDecoder::new(CSV).read_to_string(&mut text).expect("the embedded digits are gzipped text");
    let (mut data, mut labels) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let values = line.split(',').map(|value| value.parse::<u8>().expect("the embedded digits are bytes"));
        data.extend(values);
        labels.push(i32::from(data.pop().expect("a row of the embedded digits ends in its label")));
    }
    (data, labels)
}
