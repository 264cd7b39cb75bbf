//! What the dropouts draw: how much they keep, that units stay together, and what masks depend on.

use std::sync::Arc;

use wgrad::graph::{Graph, Mode, Step, TensorDesc};
use wgrad::ops::drop_path::DropPath;
use wgrad::ops::dropout::Dropout;
use wgrad::ops::dropout2d::Dropout2d;
use wgrad::ops::{self, Layer, fill::Fill};
use wgrad::tensor::{Layout, Shape};

use super::run_everywhere;

const STEP: Step = Step { seed: 0x0123_4567_89ab_cdef, step: 5, micro_batches: 1, ..Step::FIRST };

fn layers(p: f32) -> [(&'static str, Box<dyn Layer>); 3] {
    [
        ("dropout", Box::new(Dropout { p })),
        ("dropout2d", Box::new(Dropout2d { p })),
        ("drop_path", Box::new(DropPath { p })),
    ]
}

/// The layer applied to `input` in a training step, under a node's name, in PyTorch's order; the same on all devices.
fn apply(layer: &dyn Layer, name: &str, shape: &Shape, input: &[f32], step: &Step) -> Vec<f32> {
    let mut graph = Graph::new(Mode::Train);
    let x = graph.input("x", TensorDesc::f32(shape.clone()));
    let y = graph.scope(name, |graph| layer.build(graph, x)).expect("it takes images");
    let ones = graph.apply1(Fill { shape: shape.clone(), value: 1.0 }, &[]).expect("a shape");
    let dx = ops::gradients_of(&mut graph, &[(y, ones)], &[x]).expect("a gradient")[0];
    graph.output("y", y);
    graph.output("dx", dx.expect("y depends on x"));
    let layout = Layout::of(shape);
    let results = run_everywhere(Arc::new(graph), &[("x", &layout.to_physical(input))], step);
    let (_, first) = &results[0];
    for (device, outputs) in &results {
        let same = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs() || a.is_nan())
        };
        assert!(same(&outputs["y"], &first["y"]), "{layer:?}: {device} draws another mask than the CPU");
        assert!(same(&outputs["dx"], &first["dx"]), "{layer:?}: {device} draws another mask in backward");
    }
    if input.iter().all(|x| *x == 1.0) {
        assert_eq!(first["y"], first["dx"], "{layer:?}: the masks of forward and backward differ");
    }
    layout.to_logical(&first["y"])
}

/// The mask of a layer: what it makes of ones.
fn mask(layer: &dyn Layer, name: &str, shape: [usize; 4], step: &Step) -> Vec<f32> {
    let shape = Shape::from(shape);
    apply(layer, name, &shape, &vec![1.0; shape.numel()], step)
}

#[test]
fn the_kept_fraction_is_1_minus_p_and_the_scale_its_inverse() {
    for p in [0.1_f32, 0.5, 0.8] {
        for (name, layer) in layers(p) {
            let units: Vec<f32> = match name {
                "dropout" => mask(&*layer, "a", [7, 11, 17, 13], &STEP),
                "dropout2d" => mask(&*layer, "a", [97, 131, 1, 1], &STEP),
                _ => mask(&*layer, "a", [9973, 1, 1, 1], &STEP),
            };
            let (count, keep) = (units.len() as f32, 1.0 - p);
            let kept = units.iter().filter(|m| **m != 0.0).count() as f32;
            let sigma = (count * p * keep).sqrt();
            assert!((kept - count * keep).abs() <= 4.0 * sigma, "{name}: kept {kept} of {count} at p = {p}");
            let scaled = units.iter().all(|m| *m == 0.0 || (m * keep - 1.0).abs() < 1e-6);
            assert!(scaled, "{name}: what is kept is divided by 1 - p");
        }
    }
}

#[test]
fn channels_and_samples_are_dropped_as_a_whole() {
    let shape @ [_, c, h, w] = [5, 7, 3, 4];
    for (name, layer) in layers(0.5) {
        let mask = mask(&*layer, "a", shape, &STEP);
        let unit = match name {
            "dropout" => 1,
            "dropout2d" => h * w,
            _ => c * h * w,
        };
        let mut units = mask.chunks(unit);
        assert!(units.all(|unit| unit.iter().all(|m| *m == unit[0])), "{name} splits a unit");
        assert!(mask.contains(&0.0) && mask.contains(&2.0), "{name}: p = 0.5 should drop some of these");
        let whole = mask.chunks(2 * unit).all(|units| units.iter().all(|m| *m == units[0]));
        assert!(!whole, "{name} drops more than a unit at once");
    }
}

#[test]
fn micro_batches_draw_the_masks_of_the_whole_batch() {
    for (name, layer) in layers(0.5) {
        let whole = mask(&*layer, "a", [37, 3, 5, 2], &STEP);
        let first = mask(&*layer, "a", [20, 3, 5, 2], &STEP);
        let second = mask(&*layer, "a", [17, 3, 5, 2], &Step { sample_base: 20, ..STEP });
        assert_eq!(whole, [first, second].concat(), "{name} depends on micro-batches");
    }
}

#[test]
fn masks_differ_by_node_step_and_both_halves_of_the_seed_and_are_repeated() {
    let shape = [64, 8, 2, 2];
    for (name, layer) in layers(0.5) {
        let base = mask(&*layer, "a", shape, &STEP);
        assert_eq!(base, mask(&*layer, "a", shape, &STEP), "{name} is not repeatable");
        let others = [
            mask(&*layer, "b", shape, &STEP),
            mask(&*layer, "a", shape, &Step { step: 6, ..STEP }),
            mask(&*layer, "a", shape, &Step { seed: STEP.seed ^ 1, ..STEP }),
            mask(&*layer, "a", shape, &Step { seed: STEP.seed ^ (1 << 63), ..STEP }),
        ];
        let unit = base.len()
            / if name == "drop_path" { 64 } else { 64 * 8 * if name == "dropout" { 4 } else { 1 } };
        for (number, other) in others.iter().enumerate() {
            let units = base.iter().step_by(unit).zip(other.iter().step_by(unit));
            let (count, same) = (base.len() / unit, units.filter(|(a, b)| a == b).count());
            let distance = (same as f32 - count as f32 / 2.0).abs();
            assert!(
                distance <= 4.0 * (count as f32 / 4.0).sqrt(),
                "{name}, change {number}: {same} of {count} masks are equal"
            );
        }
    }
}

#[test]
fn a_dropped_nan_stays_a_nan() {
    let input = [f32::NAN, f32::INFINITY, 1.0, -1.0];
    for (name, layer) in layers(1.0) {
        let output = apply(&*layer, "a", &[1, 4, 1, 1].into(), &input, &STEP);
        assert!(output[0].is_nan() && output[1].is_nan(), "{name}: {output:?}");
        assert_eq!(output[2..], [0.0, 0.0], "{name}: p = 1 drops everything");
    }
}

#[test]
fn evaluation_and_p_0_return_the_input_itself() {
    for (mode, p) in [(Mode::Eval, 0.5), (Mode::Eval, 1.0), (Mode::Train, 0.0)] {
        for (name, layer) in layers(p) {
            let mut graph = Graph::new(mode);
            let x = graph.input("x", TensorDesc::f32([2, 3, 4, 5]));
            assert_eq!(layer.build(&mut graph, x).expect("valid"), x, "{name}, {mode:?}, p = {p}");
        }
    }
}

#[test]
fn defaults_are_pytorchs() {
    assert_eq!(Dropout::default(), Dropout { p: 0.5 });
    assert_eq!(Dropout2d::default(), Dropout2d { p: 0.5 });
    assert_eq!(DropPath::default(), DropPath { p: 0.0 });
}

#[test]
fn p_outside_of_0_to_1_and_rows_in_dropout2d_are_errors() {
    for mode in [Mode::Train, Mode::Eval] {
        for p in [-0.1, 1.5, f32::NAN] {
            for (name, layer) in layers(p) {
                let mut graph = Graph::new(mode);
                let x = graph.input("x", TensorDesc::f32([2, 3, 4, 5]));
                let message = layer.build(&mut graph, x).expect_err("p is not valid").to_string();
                assert_eq!(message, format!("model has a {name} with p = {p}; p must be between 0 and 1"));
            }
        }
    }
    let mut graph = Graph::new(Mode::Train);
    let x = graph.input("x", TensorDesc::f32([2, 3]));
    let message = Dropout2d { p: 0.5 }.build(&mut graph, x).expect_err("no image").to_string();
    assert_eq!(message, r#"dropout2d "dropout2d": input must be [N, C, H, W], it is [2, 3]"#);
}
