//! Errors of concat.

use wgrad::graph::{Graph, Mode, TensorDesc};
use wgrad::ops::concat::Concat;
use wgrad::tensor::Shape;

#[test]
fn shapes_that_do_not_join_are_both_named() {
    let join = |shapes: [&[usize]; 2]| {
        let mut graph = Graph::new(Mode::Train);
        let values = shapes.map(|shape| graph.input(&format!("{shape:?}"), TensorDesc::f32(shape)));
        graph.apply1(Concat, &values).map(|value| graph.shape(value).clone())
    };
    assert_eq!(join([&[2, 3, 5, 4], &[2, 1, 5, 4]]).expect("joins"), Shape::from([2, 4, 5, 4]));
    for other in [&[2, 3, 4, 5][..], &[1, 3, 5, 4], &[2, 3]] {
        let message = join([&[2, 3, 5, 4], other]).expect_err("differs").to_string();
        let wanted = format!("the first is [2, 3, 5, 4], input 2 is {other:?}");
        assert!(
            message.starts_with("concat \"concat\": inputs may differ only in their channels"),
            "{message}"
        );
        assert!(message.ends_with(&wanted), "{message}");
    }
}
