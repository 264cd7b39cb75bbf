//! The builder makes what the model file makes.

use wgrad::graph::{Graph, Mode, TensorDesc};
use wgrad::models::{Concat, Model, ModelSpec, Residual, Sequential};
use wgrad::ops::batch_norm::BatchNorm;
use wgrad::ops::conv2d::Conv2d;
use wgrad::ops::flatten::Flatten;
use wgrad::ops::linear::Linear;
use wgrad::ops::relu::Relu;

use super::stored;

const TEXT: &str = r#"
input = [3, 9, 7]
layers = [
  { conv2d = { out_channels = 4, kernel_size = 3, padding = 1, bias = false } }, "batch_norm",
  { residual = { body = [
    { conv2d = { out_channels = 6, kernel_size = 3, stride = 2, padding = 1 } },
    { sequential = { layers = ["relu", { conv2d = { out_channels = 6, kernel_size = 1 } }] } },
  ], shortcut = [
    { conv2d = { out_channels = 6, kernel_size = 1, stride = 2 } }, "batch_norm",
  ] } },
  { concat = { branches = [[], ["relu"], ["relu", { conv2d = { out_channels = 2, kernel_size = 1 } }]] } },
  "flatten",
  { linear = { out_features = 5 } },
]
"#;

fn built() -> Model {
    let body = Sequential::new()
        .push(Conv2d::new(6, 3).stride(2).padding(1))
        .push(Sequential::new().push(Relu {}).push(Conv2d::new(6, 1)));
    let shortcut = Sequential::new().push(Conv2d::new(6, 1).stride(2)).push(BatchNorm::default());
    let branches = Concat::new()
        .branch(Sequential::new())
        .branch(Sequential::new().push(Relu {}))
        .branch(Sequential::new().push(Relu {}).push(Conv2d::new(2, 1)));
    let layers = Sequential::new()
        .push(Conv2d::new(4, 3).padding(1).bias(false))
        .push(BatchNorm::default())
        .push(Residual::new(body).shortcut(shortcut))
        .push(branches)
        .push(Flatten {})
        .push(Linear::new(5));
    Model::new([3, 9, 7], layers)
}

#[test]
fn builder_and_file_make_the_same_graph() {
    let file = TEXT.parse::<ModelSpec>().unwrap().unbound().unwrap();
    for mode in [Mode::Train, Mode::Eval] {
        let (ours, output) = built().graph(mode, 2).unwrap();
        let (theirs, _) = file.graph(mode, 2).unwrap();
        assert_eq!(format!("{:?}", ours.nodes()), format!("{:?}", theirs.nodes()));
        assert_eq!(ours.shape(output).to_vec(), [2, 5]);
    }
    let (graph, _) = file.graph(Mode::Train, 2).unwrap();
    let stored = stored(&graph);
    for name in ["2.body.1.1.weight", "2.shortcut.1.running_mean", "3.branches.2.1.bias", "5.weight"] {
        assert!(stored.contains_key(name), "{name} is not in {stored:?}");
    }
    assert_eq!(stored["5.weight"], [5, (6 + 6 + 2) * 5 * 4]);
    assert_eq!(built().to_toml(), None);
    assert_eq!(file.to_toml(), Some(TEXT));
}

#[test]
fn images_of_another_size_are_refused() {
    let mut graph = Graph::new(Mode::Eval);
    let images = graph.input("images", TensorDesc::f32([2, 3, 7, 9]));
    let error = built().build(&mut graph, images).unwrap_err();
    assert_eq!(error.to_string(), "model \"model\" takes images of [N, 3, 9, 7], not [2, 3, 7, 9]");
}
