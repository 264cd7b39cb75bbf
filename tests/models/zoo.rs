//! The built-in models: their sizes, names, and how they take the sizes of a data set.

use wgrad::graph::Mode;
use wgrad::models::{Model, ModelSpec, built_in, summary};

use super::stored;

fn bind(name: &str, input: [usize; 3], classes: usize) -> Model {
    ModelSpec::load(name).unwrap().bind(input, classes).unwrap()
}

/// Counted by PyTorch for the same networks written down as `torch.nn.Sequential`.
#[test]
fn parameter_counts_are_pytorchs() {
    let (mnist, cifar, digits, imagenet) = ([1, 28, 28], [3, 32, 32], [1, 8, 8], [3, 224, 224]);
    let cases = [
        ("seed-cnn", mnist, 10, 13_610, 0),
        ("seed-cnn", cifar, 100, 180_324, 0),
        ("seed-cnn", digits, 10, 810, 0),
        ("digits-cnn", digits, 10, 65_834, 384),
        ("lenet5", mnist, 10, 61_706, 0),
        ("lenet5", cifar, 10, 83_126, 0),
        ("small-cnn", mnist, 10, 468_010, 384),
        ("small-cnn", cifar, 100, 603_076, 384),
        ("mobilenet_v2-cifar", cifar, 10, 2_296_922, 35_088),
        ("resnet50", imagenet, 1000, 25_557_032, 53_120),
        ("resnet18", imagenet, 1000, 11_689_512, 9_600),
        ("resnet34", imagenet, 1000, 21_797_672, 17_024),
        ("wide_resnet50_2", imagenet, 1000, 68_883_240, 68_224),
        ("wide_resnet16_4-cifar", cifar, 10, 2_748_890, 3_616),
        ("vgg11_bn", imagenet, 1000, 132_868_840, 5_504),
        ("vgg16_bn", imagenet, 1000, 138_365_992, 8_448),
        ("mobilenet_v2", imagenet, 1000, 3_504_872, 34_112),
        ("mobilenet_v3_small", imagenet, 1000, 2_542_856, 12_112),
        ("efficientnet_b0", imagenet, 1000, 5_288_548, 42_016),
        ("convnext_tiny", imagenet, 1000, 28_589_128, 0),
        ("densenet121", imagenet, 1000, 7_978_856, 83_648),
        ("squeezenet1_1", imagenet, 1000, 1_235_496, 0),
        ("mnist-tiny", mnist, 10, 29_434, 224),
        ("mnist-cnn", mnist, 10, 87_106, 480),
        ("airbench94-cifar", cifar, 10, 1_971_640, 2_304),
        ("resnet18-cifar", cifar, 10, 11_173_962, 9_600),
        ("resnet18-cifar", mnist, 10, 11_172_810, 9_600),
        ("resnet18-cifar", cifar, 100, 11_220_132, 9_600),
    ];
    for (name, input, classes, parameters, statistics) in cases {
        let model = bind(name, input, classes);
        for mode in [Mode::Train, Mode::Eval] {
            let (graph, output) = model.graph(mode, 3).unwrap();
            model.check_classes(&graph, output, classes).unwrap();
            let summary = summary(&graph);
            assert_eq!(
                (summary.parameters, summary.statistics),
                (parameters, statistics),
                "{name} {input:?}"
            );
            assert_eq!(summary.rows.iter().map(|row| row.parameters).sum::<u64>(), parameters, "{name}");
        }
    }
}

#[test]
fn every_built_in_model_shows_itself_and_stores_its_sizes() {
    for name in built_in() {
        let model = ModelSpec::load(name).unwrap().unbound().unwrap();
        assert_eq!(model.name(), name);
        let text = bind(name, [2, 33, 35], 7).to_toml().unwrap().to_string();
        assert!(text.starts_with("input = [2, 33, 35]\nclasses = 7\n"), "{text}");
        let again = ModelSpec::parse(name, &text).unwrap().unbound().unwrap();
        let (graph, output) = again.graph(Mode::Eval, 5).unwrap();
        assert_eq!(graph.shape(output).to_vec(), [5, 7]);
        assert_eq!(stored(&graph), stored(&bind(name, [2, 33, 35], 7).graph(Mode::Train, 2).unwrap().0));
        assert_eq!(again.to_toml().unwrap(), text);
    }
}

#[test]
fn resnet_names_are_those_of_torchvision() {
    let (graph, _) = bind("resnet18-cifar", [3, 32, 32], 10).graph(Mode::Train, 2).unwrap();
    let stored = stored(&graph);
    let shapes = [
        ("conv1.weight", vec![64, 3, 3, 3]),
        ("layer1.0.conv1.weight", vec![64, 64, 3, 3]),
        ("layer1.0.bn2.running_var", vec![64]),
        ("layer2.0.downsample.0.weight", vec![128, 64, 1, 1]),
        ("layer2.0.downsample.1.running_mean", vec![128]),
        ("layer4.1.conv2.weight", vec![512, 512, 3, 3]),
        ("fc.bias", vec![10]),
    ];
    for (name, shape) in shapes {
        assert_eq!(stored.get(name), Some(&shape), "{name}");
    }
    assert_eq!(
        stored.keys().filter(|name| name.contains("downsample") && name.ends_with("0.weight")).count(),
        3
    );
}

#[test]
fn summaries_list_layers_with_shapes_parameters_and_operations() {
    let (graph, _) = bind("seed-cnn", [1, 28, 28], 10).graph(Mode::Train, 1).unwrap();
    let rows = summary(&graph).rows;
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.name.as_str(), row.operator, row.output.to_vec(), row.parameters))
        .collect();
    assert_eq!(
        rows,
        [
            ("0", "conv2d", vec![1, 8, 26, 26], 80),
            ("1", "relu", vec![1, 8, 26, 26], 0),
            ("2", "max_pool2d", vec![1, 8, 13, 13], 0),
            ("3", "flatten", vec![1, 1352], 0),
            ("4", "linear", vec![1, 10], 13_530),
        ]
    );
    let flops = summary(&graph).rows.iter().map(|row| row.flops).collect::<Vec<_>>();
    assert_eq!((flops[0], flops[4]), (2 * 9 * 8 * 26 * 26, 2 * 1352 * 10));
    let (resnet, _) = bind("resnet18-cifar", [3, 32, 32], 10).graph(Mode::Eval, 1).unwrap();
    let rows = summary(&resnet).rows;
    let added = rows.iter().find(|row| row.operator == "add").unwrap();
    assert_eq!((added.name.as_str(), added.output.to_vec()), ("layer1.0", vec![1, 64, 32, 32]));
}

/// Counted by PyTorch's forward hooks.
#[test]
fn multiplications_are_as_many_as_in_pytorch() {
    let cases =
        [("mobilenet_v2-cifar", 91_154_944), ("resnet18-cifar", 555_422_720), ("resnet50", 4_089_184_256)];
    for (name, multiplications) in cases {
        let (graph, _) = ModelSpec::load(name).unwrap().unbound().unwrap().graph(Mode::Eval, 1).unwrap();
        let rows = summary(&graph).rows;
        let products = rows.iter().filter(|row| ["conv2d", "linear"].contains(&row.operator));
        assert_eq!(products.map(|row| row.flops).sum::<u64>(), 2 * multiplications, "{name}");
    }
}

#[test]
fn data_sets_that_do_not_fit_are_refused() {
    let spec = |text: &str| text.parse::<ModelSpec>().unwrap();
    let linear = "layers = [\"flatten\", { linear = { out_features = 10 } }]";
    let fixed = spec(&format!("input = [1, 8, 8]\nclasses = 10\n{linear}"));
    assert!(fixed.bind([1, 8, 8], 10).is_ok());
    assert_eq!(
        fixed.bind([3, 32, 32], 10).unwrap_err().to_string(),
        "model \"model\" takes images of [1, 8, 8], those of the data set are [3, 32, 32]"
    );
    assert_eq!(
        fixed.bind([1, 8, 8], 12).unwrap_err().to_string(),
        "model \"model\" is for 10 classes, the data set has 12"
    );
    let check = |text: &str, classes| {
        let model = spec(text).bind([1, 8, 8], classes).unwrap();
        let (graph, output) = model.graph(Mode::Train, 4).unwrap();
        model.check_classes(&graph, output, classes).unwrap_err().to_string()
    };
    assert_eq!(
        check(linear, 12),
        "model \"model\" ends in 10 outputs ([4, 10]), the data set has 12 classes; the last layer may say \
         out_features = \"classes\""
    );
    assert_eq!(
        check("layers = [\"relu\"]", 10),
        "model \"model\" ends in [4, 1, 8, 8], a classifier of 10 classes in [N, 10]; \"flatten\" and a linear layer \
         make that"
    );
}
