//! Losses: targets that do not count or do not exist, extreme logits, errors; and accuracy.

use std::sync::Arc;

use wgrad::graph::{Graph, Mode, Op, Step, TensorDesc};
use wgrad::ops::accuracy::Accuracy;
use wgrad::ops::bce_with_logits::BceWithLogits;
use wgrad::ops::cross_entropy::CrossEntropy;
use wgrad::ops::mse::Mse;
use wgrad::ops::smooth_l1::SmoothL1;
use wgrad::ops::{self, Reduction};
use wgrad::plan::Data;

use super::{run_everywhere, run_with};

const NAN: f32 = f32::NAN;
const INFINITY: f32 = f32::INFINITY;

/// Loss and gradient of the logits on each device.
fn cross_entropy(op: CrossEntropy, logits: &[f32], targets: &[i32]) -> Vec<(String, f32, Vec<f32>)> {
    let rows = targets.len();
    let mut graph = Graph::new(Mode::Train);
    let x = graph.input("x", TensorDesc::f32([rows, logits.len() / rows]));
    let t = graph.input("t", TensorDesc::i32([rows]));
    let loss = graph.apply(op, &[x, t]).expect("it fits")[0];
    let dx = ops::gradients(&mut graph, loss, &[x]).expect("a gradient")[0];
    graph.output("loss", loss);
    graph.output("dx", dx.expect("the loss depends on x"));
    let data = [("x", Data::Real(logits)), ("t", Data::Int(targets))];
    let results = run_with(Arc::new(graph), &data, &Step::default()).into_iter();
    results.map(|(device, mut out)| (device, out["loss"][0], out.remove("dx").unwrap_or_default())).collect()
}

/// Where NaN is.
fn nans(values: &[f32]) -> Vec<bool> {
    values.iter().map(|value| value.is_nan()).collect()
}

#[test]
fn a_batch_of_ignored_rows_has_no_mean_and_no_gradient() {
    for op in [CrossEntropy::default(), CrossEntropy::default().label_smoothing(0.1)] {
        for (device, loss, gradient) in cross_entropy(op, &[1.0, 2.0, 3.0, 4.0], &[-100, -100]) {
            assert!(loss.is_nan(), "{device}: the mean of nothing is {loss}");
            assert_eq!(gradient, [0.0; 4], "{device}");
        }
        let op = op.reduction(Reduction::Sum);
        for (device, loss, gradient) in cross_entropy(op, &[1.0, 2.0, 3.0, 4.0], &[-100, -100]) {
            assert_eq!((loss, gradient), (0.0, vec![0.0; 4]), "{device}");
        }
    }
}

#[test]
fn a_class_that_does_not_exist_makes_the_loss_nan() {
    let logits = [1.0, 2.0, 3.0, 4.0];
    for class in [2, -1, -100_000, i32::MAX, i32::MIN] {
        for (device, loss, gradient) in cross_entropy(CrossEntropy::default(), &logits, &[0, class]) {
            assert!(loss.is_nan(), "{device}: class {class} has loss {loss}");
            assert!(gradient.iter().all(|dx| dx.is_nan()), "{device}: class {class} has {gradient:?}");
        }
        let op = CrossEntropy::default().reduction(Reduction::Sum);
        for (device, loss, gradient) in cross_entropy(op, &logits, &[0, class]) {
            assert!(loss.is_nan(), "{device}: class {class} has loss {loss}");
            assert_eq!(nans(&gradient), [false, false, true, true], "{device}: class {class}");
        }
    }
}

#[test]
fn rows_that_do_not_count_do_not_reach_the_loss() {
    for (device, loss, gradient) in
        cross_entropy(CrossEntropy::default(), &[0.0, 0.0, NAN, INFINITY], &[1, -100])
    {
        assert!((loss - 2_f32.ln()).abs() < 1e-6, "{device}: {loss}");
        // As in PyTorch, whose log_softmax multiplies the NaN by no gradient.
        assert_eq!(nans(&gradient), [false, false, true, true], "{device}");
    }
}

#[test]
fn extreme_logits_neither_overflow_nor_hide() {
    let op = CrossEntropy::default().reduction(Reduction::Sum);
    let far = cross_entropy(op, &[1e30, -1e30, 80.0, 100.0], &[0, 0]);
    for (device, loss, gradient) in far {
        assert!((loss - 20.0).abs() < 1e-5, "{device}: {loss}");
        assert!(gradient.iter().all(|dx| dx.is_finite()), "{device}: {gradient:?}");
    }
    // A masked class is no obstacle, an infinite one has no softmax.
    for (device, loss, gradient) in cross_entropy(op, &[0.5, -INFINITY], &[0]) {
        assert_eq!((loss, gradient), (0.0, vec![0.0; 2]), "{device}");
    }
    for (device, loss, _) in cross_entropy(op, &[0.5, INFINITY], &[0]) {
        assert!(loss.is_nan(), "{device}: {loss}");
    }
    for (device, loss, _) in cross_entropy(op, &[0.5, -INFINITY], &[1]) {
        assert_eq!(loss, INFINITY, "{device}");
    }
}

#[test]
fn more_rows_than_a_dispatch_has_workgroups_in_a_row() {
    let rows = 65_535 + 97;
    let logits: Vec<f32> = (0..rows).flat_map(|row| [0.0, (row % 3) as f32]).collect();
    let targets: Vec<i32> = (0..rows).map(|row| i32::from(row % 5 == 0)).collect();
    let row_loss = |row: usize| {
        let [a, b] = [f64::from(logits[2 * row]), f64::from(logits[2 * row + 1])];
        (a.exp() + b.exp()).ln() - if targets[row] == 1 { b } else { a }
    };
    let wanted = (0..rows).map(row_loss).sum::<f64>() / rows as f64;
    let mut graph = Graph::new(Mode::Eval);
    let x = graph.input("x", TensorDesc::f32([rows, 2]));
    let t = graph.input("t", TensorDesc::i32([rows]));
    let loss = graph.apply(CrossEntropy::default(), &[x, t]).expect("it fits")[0];
    let correct = graph.apply1(Accuracy {}, &[x, t]).expect("it fits");
    graph.output("loss", loss);
    graph.output("correct", correct);
    let right = (0..rows).filter(|row| (row % 3 > 0) == (row % 5 == 0)).count();
    let data = [("x", Data::Real(&logits[..])), ("t", Data::Int(&targets[..]))];
    for (device, out) in run_with(Arc::new(graph), &data, &Step::default()) {
        let loss = f64::from(out["loss"][0]);
        assert!((loss - wanted).abs() < 1e-6 * wanted, "{device}: {loss}, not {wanted}");
        assert_eq!(out["correct"][0], right as f32, "{device}");
    }
}

#[test]
fn accuracy_takes_the_first_of_ties_and_nan_for_the_largest() {
    let logits = [1.0, 3.0, 3.0, 2.0, NAN, NAN, 5.0, 4.0, -1.0, -2.0, -3.0, -1.0];
    let correct = |targets: &[i32]| {
        let mut graph = Graph::new(Mode::Eval);
        let x = graph.input("x", TensorDesc::f32([4, 3]));
        let t = graph.input("t", TensorDesc::i32([4]));
        let correct = graph.apply1(Accuracy {}, &[x, t]).expect("it fits");
        graph.output("correct", correct);
        let data = [("x", Data::Real(&logits[..])), ("t", Data::Int(targets))];
        run_with(Arc::new(graph), &data, &Step::default())
    };
    for (targets, wanted) in [([1, 1, 0, 2], 4.0), ([2, 2, 1, 0], 0.0), ([1, -100, 0, -1], 2.0)] {
        for (device, out) in correct(&targets) {
            assert_eq!(out["correct"][0], wanted, "{device}: {targets:?}");
        }
    }
}

/// Loss and gradient of the input for a loss of input and target, on each device.
fn pointwise(op: impl Op, input: &[f32], target: &[f32]) -> Vec<(String, f32, Vec<f32>)> {
    let mut graph = Graph::new(Mode::Train);
    let x = graph.input("x", TensorDesc::f32([input.len()]));
    let t = graph.input("t", TensorDesc::f32([input.len()]));
    let loss = graph.apply1(op, &[x, t]).expect("it fits");
    let dx = ops::gradients(&mut graph, loss, &[x]).expect("a gradient")[0];
    graph.output("loss", loss);
    graph.output("dx", dx.expect("the loss depends on x"));
    let results =
        run_everywhere(Arc::new(graph), &[("x", input), ("t", target)], &Step::default()).into_iter();
    results.map(|(device, mut out)| (device, out["loss"][0], out.remove("dx").unwrap_or_default())).collect()
}

#[test]
fn binary_cross_entropy_of_extreme_logits_is_exact() {
    let op = BceWithLogits::default().reduction(Reduction::Sum);
    for (device, loss, gradient) in pointwise(op.clone(), &[1e4, -1e4, 1e4, -1e4], &[1.0, 0.0, 0.0, 1.0]) {
        assert_eq!((loss, gradient), (2e4, vec![0.0, 0.0, 1.0, -1.0]), "{device}");
    }
    for (device, loss, gradient) in pointwise(op, &[15.0], &[1.0]) {
        let wanted = (-15_f32).exp();
        assert!((loss / wanted - 1.0).abs() < 1e-5, "{device}: {loss}, not {wanted}");
        assert!((gradient[0] / -wanted - 1.0).abs() < 1e-5, "{device}: {gradient:?}");
    }
}

#[test]
fn smooth_l1_changes_at_beta_and_is_flat_at_0() {
    let (input, target) = ([0.0, 2.0, -2.0, 0.25, 5.0], [0.0, 0.0, 0.0, 0.0, 4.5]);
    let op = SmoothL1::new(0.5).reduction(Reduction::Sum);
    for (device, loss, gradient) in pointwise(op, &input, &target) {
        assert_eq!(
            (loss, gradient),
            (1.75 + 1.75 + 0.0625 + 0.25, vec![0.0, 1.0, -1.0, 0.5, 1.0]),
            "{device}"
        );
    }
    for (device, loss, gradient) in pointwise(SmoothL1::new(0.0), &input, &target) {
        assert_eq!((loss, gradient), (4.75 / 5.0, vec![0.0, 0.2, -0.2, 0.2, 0.2]), "{device}");
    }
}

fn refusal(op: impl Op, inputs: &[TensorDesc]) -> String {
    let mut graph = Graph::new(Mode::Train);
    let inputs: Vec<_> =
        inputs.iter().enumerate().map(|(i, desc)| graph.input(&i.to_string(), desc.clone())).collect();
    graph.scope("loss", |graph| graph.apply(op, &inputs)).expect_err("it does not fit").to_string()
}

#[test]
fn what_does_not_fit_is_said_with_both_shapes() {
    let (logits, image) = (TensorDesc::f32([4, 10]), TensorDesc::f32([4, 10, 1, 1]));
    let classes = TensorDesc::i32([4]);
    let plain = CrossEntropy::default();
    let smooth = plain.label_smoothing(1.5);
    let three = |third: [usize; 1]| [logits.clone(), classes.clone(), TensorDesc::f32(third)];
    let cases = [
        (refusal(plain, &[image, classes.clone()]), "logits must be [N, C], they are [4, 10, 1, 1]"),
        (
            refusal(plain, &[logits.clone(), TensorDesc::i32([5])]),
            "class indices must be [4] for logits [4, 10]",
        ),
        (
            refusal(plain, &[logits.clone(), TensorDesc::f32([4])]),
            "probabilities must be [4, 10] like the logits",
        ),
        (refusal(plain, &three([9])), "weight must be [10] for logits [4, 10], it is [9]"),
        (refusal(smooth, &[logits.clone(), classes.clone()]), "label_smoothing must be in 0..=1, it is 1.5"),
        (refusal(Accuracy {}, &[logits.clone(), TensorDesc::i32([5])]), "class indices must be [4]"),
        (
            refusal(Mse::default(), &[logits.clone(), TensorDesc::f32([10])]),
            "target must be floats [4, 10] like the input, it is [10]",
        ),
        (
            refusal(Mse::default(), &[TensorDesc::f32([4]), classes]),
            "target must be floats [4] like the input, it is class indices [4]",
        ),
        (
            refusal(BceWithLogits::default(), &[logits.clone(), logits.clone(), TensorDesc::f32([4])]),
            "pos_weight must be [10] or [1] for input [4, 10], it is [4]",
        ),
        (
            refusal(SmoothL1::default(), &[logits.clone(), logits.clone(), logits.clone()]),
            "takes input and target only",
        ),
    ];
    for (message, wanted) in cases {
        assert!(message.contains(wanted), "{message}");
        assert!(message.contains("\"loss\""), "{message}");
    }
}
