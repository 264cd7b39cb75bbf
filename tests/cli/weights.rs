//! Weights in files: PyTorch's names, `--init`.

use safetensors::{Dtype, SafeTensors};

use crate::Place;
use crate::files::{TINY, Tensor, floats, serialize, write_tiny};

#[test]
fn models_are_saved_as_pytorch_names_them() {
    let place = Place::new();
    write_tiny(&place);
    place.ok(&format!("train {TINY} --max-steps 5 --out a"));
    let bytes = place.read("a/model.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut found: Vec<(&str, Dtype, Vec<usize>)> =
        file.iter().map(|(name, view)| (name, view.dtype(), view.shape().to_vec())).collect();
    found.sort_by_key(|(name, ..)| *name);
    let expected = [
        ("0.weight", Dtype::F32, vec![4, 1, 3, 3]),
        ("1.bias", Dtype::F32, vec![4]),
        ("1.num_batches_tracked", Dtype::I64, vec![]),
        ("1.running_mean", Dtype::F32, vec![4]),
        ("1.running_var", Dtype::F32, vec![4]),
        ("1.weight", Dtype::F32, vec![4]),
        ("7.bias", Dtype::F32, vec![3]),
        ("7.weight", Dtype::F32, vec![3, 36]),
    ];
    assert_eq!(found, expected);
    assert_eq!(file.tensor("1.num_batches_tracked").unwrap().data(), 5i64.to_le_bytes());
}

#[test]
fn a_model_initialises_another_run() {
    let place = Place::new();
    write_tiny(&place);
    place.ok(&format!("train {TINY} --max-steps 6 --seed 5 --out a"));
    // Nothing is learned at rate 0: parameters come out as they went in.
    let ran = place.ok(&format!("train {TINY} --max-steps 1 --lr 0 --init a/model.safetensors --out b"));
    assert!(ran.out.contains("init    7 of 7 tensors from a/model.safetensors"), "{}", ran.out);
    assert_eq!(ran.err, "");
    let [a, b] = ["a", "b"].map(|run| place.read(format!("{run}/model.safetensors")));
    let [a, b] = [&a, &b].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    for name in ["0.weight", "1.weight", "1.bias", "7.weight", "7.bias"] {
        assert_eq!(a.tensor(name).unwrap().data(), b.tensor(name).unwrap().data(), "{name}");
    }
}

#[test]
fn missing_and_left_over_weights_are_named() {
    let place = Place::new();
    write_tiny(&place);
    let tensors = [floats("7.bias", &[3], &[1.0, 2.0, 3.0]), floats("head.weight", &[1], &[0.0])];
    place.write("some.safetensors", serialize(&tensors, None));
    let ran = place.ok(&format!("train {TINY} --max-steps 1 --lr 0 --init some.safetensors --out a"));
    ran.remarks(&["warning: some.safetensors has no 0.weight, 1.weight,", "they keep their initial values"]);
    ran.remarks(&["warning: some.safetensors also has head.weight"]);
    let bytes = place.read("a/model.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("7.bias").unwrap().data(), [1.0f32, 2.0, 3.0].map(f32::to_le_bytes).concat());
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let place = Place::new();
    write_tiny(&place);
    let cases: &[(&str, Vec<Tensor>, &[&str])] = &[
        ("shape", vec![floats("7.bias", &[2], &[0.0; 2])], &["\"7.bias\" as [2]", "the model needs [3]"]),
        (
            "names",
            vec![floats("head.bias", &[3], &[0.0; 3])],
            &["has no tensor of the model", "\"0.weight\""],
        ),
        ("nan", vec![floats("7.bias", &[3], &[0.0, f32::NAN, 0.0])], &["NaN", "\"7.bias\""]),
        ("type", vec![Tensor("7.bias", Dtype::U8, vec![3], vec![0; 3])], &["U8", "must be floats"]),
        ("empty", vec![], &["has no tensor of the model"]),
    ];
    for (name, tensors, parts) in cases {
        place.write(&format!("{name}.safetensors"), serialize(tensors, None));
        let line = format!("train {TINY} --max-steps 1 --init {name}.safetensors --out a");
        place.fails(&line, 1, parts).says(&[&format!("{name}.safetensors")]);
    }
    place.fails(&format!("train {TINY} --init no.safetensors --out a"), 1, &["cannot read no.safetensors"]);
    place.write("text.safetensors", "not tensors at all, but long enough");
    place.fails(
        &format!("train {TINY} --init text.safetensors --out a"),
        1,
        &["is not a whole safetensors file"],
    );
    assert!(!place.path("a").exists(), "nothing is left behind by a run that never began");
}
