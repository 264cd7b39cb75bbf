//! Pools: ties, NaN, windows without a pixel, errors.

use std::sync::Arc;

use wgrad::graph::{Graph, Mode, Step, TensorDesc};
use wgrad::ops::adaptive_avg_pool2d::AdaptiveAvgPool2d;
use wgrad::ops::avg_pool2d::AvgPool2d;
use wgrad::ops::global_avg_pool2d::GlobalAvgPool2d;
use wgrad::ops::max_pool2d::MaxPool2d;
use wgrad::ops::{self, Layer};

use super::run_everywhere;

const NAN: f32 = f32::NAN;
const LOWEST: f32 = f32::NEG_INFINITY;

/// Checks output and gradient of a pool over one image of one channel, for upstream gradients 1, 2, 3, ...
fn check(pool: MaxPool2d, [h, w]: [usize; 2], image: &[f32], output: &[f32], gradient: &[f32]) {
    let mut graph = Graph::new(Mode::Train);
    let x = graph.input("x", TensorDesc::f32([1, 1, h, w]));
    let y = pool.build(&mut graph, x).expect("it fits");
    let dy = graph.input("dy", graph.desc(y).clone());
    let dx = ops::gradients_of(&mut graph, &[(y, dy)], &[x]).expect("a gradient")[0];
    graph.output("y", y);
    graph.output("dx", dx.expect("y depends on x"));
    let upstream: Vec<f32> = (1..=output.len()).map(|i| i as f32).collect();
    let same = |got: &[f32], want: &[f32]| {
        assert_eq!(got.len(), want.len());
        got.iter().zip(want).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
    };
    for (device, got) in run_everywhere(Arc::new(graph), &[("x", image), ("dy", &upstream)], &Step::default())
    {
        assert!(same(&got["y"], output), "{device}: {pool:?} gives {:?}, not {output:?}", got["y"]);
        assert!(
            same(&got["dx"], gradient),
            "{device}: {pool:?} has gradient {:?}, not {gradient:?}",
            got["dx"]
        );
    }
}

#[test]
fn the_first_of_ties_wins_in_every_window() {
    let pool = MaxPool2d::new(2).stride(1);
    check(pool, [2, 3], &[5.0; 6], &[5.0; 2], &[1.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    let zeros = [0.0, -0.0, -0.0, 0.0];
    check(MaxPool2d::new(2), [2, 2], &zeros, &[0.0], &[1.0, 0.0, 0.0, 0.0]);
    // With padding, the first pixel of the image under the window, not the first tap.
    let padded = MaxPool2d::new(3).stride(2).padding(1);
    check(padded, [2, 2], &[-1.0; 4], &[-1.0], &[1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn nan_wins_and_the_last_of_several_gets_the_gradient() {
    let image = [1.0, NAN, 2.0, NAN, 7.0, 3.0];
    check(MaxPool2d::new(2).stride(1), [2, 3], &image, &[NAN, NAN], &[0.0, 2.0, 0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn infinities_are_numbers_like_others() {
    let image = [LOWEST, LOWEST, f32::INFINITY, LOWEST, LOWEST, 0.0];
    let gradient = [1.0, 0.0, 2.0, 0.0, 0.0, 0.0];
    check(MaxPool2d::new(2).stride(1), [2, 3], &image, &[LOWEST, f32::INFINITY], &gradient);
}

#[test]
fn a_window_of_padding_only_has_no_winner() {
    // Taps at -1 and 2 of an image of two rows.
    let pool = MaxPool2d::new([2, 1]).padding([1, 0]).dilation([3, 1]).stride(1);
    check(pool, [2, 2], &[1.0, 2.0, 3.0, 4.0], &[LOWEST, LOWEST], &[0.0; 4]);
}

fn refusal(layer: &dyn Layer, shape: &[usize]) -> String {
    let mut graph = Graph::new(Mode::Train);
    let input = graph.input("x", TensorDesc::f32(shape.to_vec()));
    graph.scope("pool", |graph| layer.build(graph, input)).expect_err("it does not fit").to_string()
}

#[test]
fn what_does_not_fit_is_said_with_the_shape() {
    let cases: [(&dyn Layer, &[usize], &str); 8] = [
        (
            &MaxPool2d::new(3).padding(2),
            &[1, 2, 5, 5],
            "padding [2, 2] must be at most half of kernel_size [3, 3]",
        ),
        (&AvgPool2d::new(2).padding([0, 2]), &[1, 2, 5, 5], "padding [0, 2] must be at most half"),
        (
            &MaxPool2d::new(3).dilation(2),
            &[1, 2, 7, 4],
            "the window spans 5 pixels, but the input's width is 4",
        ),
        (&MaxPool2d::new(0), &[1, 2, 5, 5], "kernel_size, stride and dilation must be at least 1"),
        (&AvgPool2d::new(2).stride(0), &[1, 2, 5, 5], "kernel_size, stride and dilation must be at least 1"),
        (&AvgPool2d::new(2).divisor_override(0), &[1, 2, 5, 5], "divisor_override must be at least 1"),
        (&AdaptiveAvgPool2d::new([3, 0]), &[1, 2, 5, 5], "output_size must be at least 1, it is [3, 0]"),
        (&GlobalAvgPool2d::default(), &[4, 10], "input must be [N, C, H, W], it is [4, 10]"),
    ];
    for (layer, shape, wanted) in cases {
        let message = refusal(layer, shape);
        assert!(message.contains(wanted), "{message}");
        assert!(message.contains(&format!("{shape:?}")), "{message}");
        assert!(message.contains("\"pool\""), "{message}");
    }
}
