//! Data sets that are truncated, foreign or wrong: an error that names the file, and no run folder.

use safetensors::Dtype;

use crate::Place;
use crate::files::{
    Tensor, bytes, floats, idx, labels, serialize, tiny_tensors, write_cifar, write_mnist, write_pets,
    write_png,
};

/// Training on a data set fails with one line that holds all parts.
fn refused(place: &Place, data: &str, parts: &[&str]) {
    place.fails(
        &format!("train --data {data} --model seed-cnn --max-steps 1 --device cpu --out run"),
        1,
        parts,
    );
    assert!(!place.path("run").exists(), "{data}: nothing is left behind by a run that never began");
}

#[test]
fn mnist() {
    let train = ["mnist/train-images-idx3-ubyte", "mnist/train-labels-idx1-ubyte"];
    let cases: &[(&str, Vec<u8>, &[&str])] = &[
        (train[0], vec![], &["train-images-idx3-ubyte", "is truncated"]),
        (
            train[0],
            idx(&[6, 28, 28], &[0; 100]),
            &["train-images-idx3-ubyte", "its header promises 6 x 28 x 28 bytes"],
        ),
        (train[0], idx(&[u32::MAX; 3], &[0; 100]), &["train-images-idx3-ubyte"]),
        (train[0], b"GIF89a: no IDX file at all".to_vec(), &["train-images-idx3-ubyte"]),
        (train[0], idx(&[5, 28, 28], &[0; 5 * 784]), &["5", "6"]),
        (train[1], idx(&[6], &[0, 1, 2, 3, 4, 10]), &["label 10"]),
        (train[1], idx(&[6], &[0, 1]), &["train-labels-idx1-ubyte"]),
        (train[1], [0x1f, 0x8b, 8, 0, 1, 2, 3].to_vec(), &["train-labels-idx1-ubyte"]),
        ("mnist/t10k-images-idx3-ubyte", idx(&[3, 8, 8], &[0; 192]), &["8"]),
    ];
    let place = Place::new();
    for (file, content, parts) in cases {
        write_mnist(&place);
        place.write(file, content);
        refused(&place, "mnist:mnist", parts);
    }
    refused(&place, "mnist:nowhere", &["nowhere"]);
    std::fs::remove_file(place.path("mnist/t10k-labels-idx1-ubyte")).unwrap();
    refused(&place, "fashion-mnist:mnist", &["t10k-labels"]);
}

#[test]
fn cifar() {
    let place = Place::new();
    let cases: &[(&str, Vec<u8>, &[&str])] = &[
        ("cifar/data_batch_3.bin", vec![1; 3073 + 100], &["data_batch_3.bin"]),
        ("cifar/data_batch_3.bin", vec![], &["data_batch_3.bin"]),
        ("cifar/data_batch_3.bin", vec![200; 3073], &["data_batch_3.bin", "label 200"]),
        ("cifar/test_batch.bin", b"foreign".to_vec(), &["test_batch.bin"]),
    ];
    for (file, content, parts) in cases {
        write_cifar(&place);
        place.write(file, content);
        refused(&place, "cifar10:cifar", parts);
    }
    refused(&place, "cifar100:cifar", &["train.bin"]);
}

#[test]
fn folders() {
    let place = Place::new();
    refused(&place, "folder:nowhere", &["nowhere"]);
    write_pets(&place);
    std::fs::create_dir(place.path("pets/fish")).unwrap();
    refused(&place, "folder:pets", &["fish"]);
    write_png(&place, "pets/fish/1.png", [9, 6], |_, _| 0);
    write_png(&place, "pets/fish/2.png", [9, 6], |_, _| 0);
    refused(&place, "folder:pets", &["pets/fish/1.png", "9x6", "8x6"]);
    for name in ["1", "2"] {
        place.write(&format!("pets/fish/{name}.png"), "not an image");
    }
    refused(&place, "folder:pets", &["pets/fish/1.png"]);
    // A header alone is enough to be found, but not to be decoded.
    let whole = place.read("pets/cat/1.png");
    for name in ["1", "2"] {
        place.write(&format!("pets/fish/{name}.png"), &whole[..whole.len() / 2]);
    }
    let line = "train --data folder:pets --model seed-cnn --batch-size 4 --device cpu --out run";
    place.fails(line, 1, &["pets/fish/", "cannot be decoded"]);
}

#[test]
fn tensors() {
    let images = |count: usize| vec![7u8; count * 36];
    let cases: &[(&str, Tensor, &[&str])] = &[
        ("nan", floats("train.images", &[50, 1, 6, 6], &[f32::NAN; 1800]), &["train.images", "NaN"]),
        (
            "infinite",
            floats("train.images", &[50, 1, 6, 6], &[f32::INFINITY; 1800]),
            &["train.images", "inf"],
        ),
        ("negative", labels("train.labels", &[-1; 50]), &["train.labels", "-1"]),
        ("huge", labels("train.labels", &[1 << 40; 50]), &["train.labels"]),
        ("unknown", labels("test.labels", &[7; 20]), &["test.labels", "label 7"]),
        ("few", labels("train.labels", &[0, 1, 2]), &["3", "50"]),
        ("flat", bytes("train.images", &[50, 36], images(50)), &["train.images", "[50, 36]"]),
        ("sizes", bytes("test.images", &[20, 1, 4, 4], vec![0; 320]), &["[1, 4, 4]", "[1, 6, 6]"]),
        (
            "type",
            Tensor("train.images", Dtype::F64, vec![50, 1, 6, 6], vec![0; 14400]),
            &["train.images", "F64"],
        ),
        ("none", bytes("train.images", &[0, 1, 6, 6], vec![]), &["train"]),
    ];
    let place = Place::new();
    for (name, tensor, parts) in cases {
        let mut tensors = tiny_tensors();
        tensors.retain(|Tensor(name, ..)| *name != tensor.0);
        tensors.push(Tensor(tensor.0, tensor.1, tensor.2.clone(), tensor.3.clone()));
        place.write(&format!("{name}.safetensors"), serialize(&tensors, None));
        refused(&place, &format!("tensors:{name}.safetensors"), parts);
    }
    let whole = serialize(&tiny_tensors(), None);
    place.write("cut.safetensors", &whole[..whole.len() - 100]);
    refused(&place, "tensors:cut.safetensors", &["cut.safetensors", "truncated"]);
    place.write("foreign.safetensors", "PK\x03\x04 a zip, with more bytes than eight");
    refused(&place, "tensors:foreign.safetensors", &["foreign.safetensors", "not a safetensors file"]);
    place.write("partial.safetensors", serialize(&tiny_tensors()[..2], None));
    refused(&place, "tensors:partial.safetensors", &["partial.safetensors", "test.images"]);
    refused(&place, "tensors:nowhere.safetensors", &["nowhere.safetensors"]);
}
