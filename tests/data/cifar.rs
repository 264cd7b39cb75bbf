//! CIFAR-10 and CIFAR-100.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::{bytes_of, check, load};

/// A record of solid planes: red, green and blue are `color`, but the second pixel's red is 255.
fn cifar_record(labels: &[u8], color: [u8; 3]) -> Vec<u8> {
    let mut record = labels.to_vec();
    record.extend(color.iter().flat_map(|&byte| [byte; 1024]));
    record[labels.len() + 1] = 255;
    record
}

pub fn write_cifar10(dir: &Path) {
    for batch in 1..=5u8 {
        let records = [cifar_record(&[batch], [batch, 20, 30]), cifar_record(&[9], [batch, 50, 60])].concat();
        fs::write(dir.join(format!("data_batch_{batch}.bin")), records).unwrap();
    }
    fs::write(dir.join("test_batch.bin"), cifar_record(&[3], [1, 2, 3])).unwrap();
}

#[test]
fn cifar10_round_trips() {
    let dir = tempdir().unwrap();
    let inner = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&inner).unwrap();
    write_cifar10(&inner);
    for dir in [dir.path(), &inner] {
        let set = load("cifar10", dir).unwrap();
        assert_eq!((set.image, set.classes[3].as_str()), ([3, 32, 32], "cat"));
        assert_eq!(set.train.labels(), [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]);
        assert_eq!(bytes_of(&set.train)[2 * 3072..][..6], [2, 20, 30, 255, 20, 30]);
        assert_eq!(bytes_of(&set.test)[3069..], [1, 2, 3]);
    }
    fs::write(inner.join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
    assert_eq!(load("cifar10", dir.path()).unwrap().classes[9], "j");
    fs::write(inner.join("batches.meta.txt"), "a\nb\n").unwrap();
    check("cifar10", dir.path(), &["batches.meta.txt: has 2 class names, expected 10"]);
    fs::write(inner.join("batches.meta.txt"), [0xff, 0xfe]).unwrap();
    check("cifar10", dir.path(), &["batches.meta.txt: is not text"]);
}

#[test]
fn cifar100_has_fine_labels() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("train.bin"), cifar_record(&[4, 99], [1, 2, 3])).unwrap();
    fs::write(dir.path().join("test.bin"), cifar_record(&[4, 7], [4, 5, 6])).unwrap();
    let set = load("cifar100", dir.path()).unwrap();
    assert_eq!((set.train.labels(), set.test.labels(), set.classes.len()), (&[99][..], &[7][..], 100));
    assert_eq!(bytes_of(&set.test)[..6], [4, 5, 6, 255, 5, 6]);
    let names: Vec<String> = (0..100).map(|class| format!("kind {class}")).collect();
    fs::write(dir.path().join("fine_label_names.txt"), names.join("\r\n")).unwrap();
    assert_eq!(load("cifar100", dir.path()).unwrap().classes, names);
}

#[test]
fn bad_cifar_files_are_named() {
    let record = cifar_record(&[3], [1, 2, 3]);
    let cases: &[(Vec<u8>, &str)] = &[
        (vec![], "is truncated or not of the binary version: 0 bytes"),
        (record[..3000].to_vec(), "3000 bytes are no whole number of 3073-byte records"),
        ([record.clone(), cifar_record(&[10], [0; 3])].concat(), "label 10 of record 1 is not in 0 to 9"),
    ];
    let dir = tempdir().unwrap();
    for (bytes, message) in cases {
        write_cifar10(dir.path());
        fs::write(dir.path().join("data_batch_4.bin"), bytes).unwrap();
        check("cifar10", dir.path(), &["data_batch_4.bin: ", message]);
    }
    fs::remove_file(dir.path().join("data_batch_4.bin")).unwrap();
    check(
        "cifar10",
        dir.path(),
        &["has no data_batch_4.bin; expected data_batch_1.bin to data_batch_5.bin", "Krizhevsky"],
    );
    check("cifar100", dir.path(), &["has no train.bin", "CIFAR-100", "University of Toronto"]);
    check(
        "cifar100",
        &dir.path().join("test_batch.bin"),
        &["is a file; expected a folder with train.bin and test.bin"],
    );
    check("cifar10", &dir.path().join("none"), &["no such folder"]);
}
