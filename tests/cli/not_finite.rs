//! A loss or weights that are no longer finite: training stops at that step, and the last good checkpoint stays.

use safetensors::{Dtype, SafeTensors};

use crate::Place;
use crate::files::{TINY, floats, labels, serialize, write_tiny};

/// All floats of a file are finite.
pub fn check_finite(bytes: &[u8]) {
    let file = SafeTensors::deserialize(bytes).unwrap();
    for (name, view) in file.iter().filter(|(_, view)| view.dtype() == Dtype::F32) {
        let finite =
            view.data().chunks_exact(4).all(|b| f32::from_le_bytes(b.try_into().unwrap()).is_finite());
        assert!(finite, "{name}");
    }
}

#[test]
fn a_loss_that_becomes_nan_stops_training() {
    let place = Place::new();
    let line = "train --device cpu --data digits --model seed-cnn --lr 1e30 --log-every 1 --out a";
    place.fails(
        line,
        1,
        &["the loss became", "at step 2 ", "the last checkpoint is kept", "lower learning rate"],
    );
    assert_eq!(place.metrics("a").len(), 1, "the bad step is not logged");
    check_finite(&place.read("a/checkpoint.safetensors"));
    check_finite(&place.read("a/model.safetensors"));
    // It happens again, at the same step; and the state from before can be used.
    let before = place.contents("a");
    place.fails("resume a", 1, &["the loss became", "at step 2 "]);
    assert_eq!(before.len(), place.contents("a").len());
    assert_eq!(before[0], place.contents("a")[0], "the checkpoint");
    place.ok("eval a --device cpu");
}

#[test]
fn the_checkpoint_before_an_explosion_is_kept() {
    let place = Place::new();
    write_tiny(&place);
    let explodes = "--schedule multi-step --milestones 4 --gamma 1e32 --checkpoint-every 4";
    let line = format!("train {TINY} --optimizer sgd --lr 0.01 --max-steps 12 {explodes} --out a");
    place.fails(&line, 1, &["the loss became", "at step "]);
    place.ok(&format!("train {TINY} --optimizer sgd --lr 0.01 --max-steps 4 --out short"));
    let [kept, short] = ["a", "short"].map(|run| place.read(format!("{run}/model.safetensors")));
    assert!(kept == short, "the weights of step 4 are kept");
    check_finite(&place.read("a/checkpoint.safetensors"));
}

#[test]
fn weights_that_overflow_are_not_saved() {
    let place = Place::new();
    write_tiny(&place);
    let line =
        format!("train {TINY} --lr 3e38 --weight-decay 1e30 --checkpoint-every 1 --max-steps 5 --out a");
    place.fails(&line, 1, &["\" became infinite or NaN by step 1", "the last checkpoint is kept"]);
    check_finite(&place.read("a/checkpoint.safetensors"));
    check_finite(&place.read("a/model.safetensors"));
}

#[test]
fn a_loss_that_is_infinite_stops_training() {
    let place = Place::new();
    place.write("linear.toml", "layers = [\"flatten\", { linear = { out_features = \"classes\" } }]");
    // Sums of the products overflow.
    let tensors = [
        floats("train.images", &[4, 1, 2, 2], &[3e38; 16]),
        labels("train.labels", &[0, 1, 2, 0]),
        floats("test.images", &[1, 1, 2, 2], &[1.0; 4]),
        labels("test.labels", &[1]),
    ];
    place.write("huge.safetensors", serialize(&tensors, None));
    let line =
        "train --data tensors:huge.safetensors --model linear.toml --batch-size 4 --device cpu --out a";
    place.fails(line, 1, &["the loss became", "at step 1 "]);
    check_finite(&place.read("a/checkpoint.safetensors"));
}
