//! Which operators can leave wgrad, and what they become.

use super::OPERATORS;
use crate::error::Result;
use crate::exchange::export::{How, model};
use crate::exchange::form::Site;
use crate::exchange::proto::ModelProto;
use crate::graph::{Graph, Mode, NodeKind, Value};
use crate::models::{ModelSpec, built_in};
use crate::ops::{Sample, registry};
use crate::train::weights::Tensors;

/// Operators that inference graphs do not have: losses and metrics, what is done to training samples, what only training
/// does, and steps of optimizers.
const NOT_OF_INFERENCE: [&str; 18] = [
    "accuracy",
    "add_scaled",
    "augment",
    "bce_with_logits",
    "cast",
    "cross_entropy",
    "drop_path",
    "dropout",
    "dropout2d",
    "gather_batch",
    "loss_scale",
    "mix_images",
    "mix_targets",
    "mse",
    "scale_by_norm",
    "smooth_l1",
    "sum_to",
    "views",
];

#[test]
fn every_operator_of_inference_can_leave() {
    for operator in registry() {
        let leaves = OPERATORS.iter().any(|known| known.name == operator.name);
        let stays = NOT_OF_INFERENCE.contains(&operator.name);
        assert!(leaves != stays, "{} is to be in one of OPERATORS and NOT_OF_INFERENCE", operator.name);
    }
    for operator in OPERATORS {
        assert!(registry().iter().any(|known| known.name == operator.name), "{}", operator.name);
    }
}

/// The graph of a sample, with its inputs as inputs.
fn graph_of(sample: &Sample) -> Result<(Graph, Value)> {
    let mut graph = Graph::new(Mode::Eval);
    let inputs: Vec<Value> = sample
        .inputs
        .iter()
        .enumerate()
        .map(|(i, input)| graph.input(&format!("input{i}"), input.desc()))
        .collect();
    let output = (sample.build)(&mut graph, &inputs)?[0];
    Ok((graph, output))
}

fn exported(sample: &Sample) -> Option<ModelProto> {
    let (graph, output) = graph_of(sample).unwrap();
    model(&graph, output, &Tensors::new(), How::default()).ok()
}

#[test]
fn samples_leave_but_for_what_only_training_and_fusion_make() {
    for operator in
        registry().iter().filter(|operator| OPERATORS.iter().any(|known| known.name == operator.name))
    {
        for sample in (operator.samples)() {
            let of_training = ["train", "again", "statistics", "half", "f16", "relu", "leaky", "flat"];
            let epilogue = ["eval-silu", "eval-residual"];
            let case = sample.id.split('/').nth(1).unwrap_or_default();
            let stays = of_training.iter().chain(&epilogue).any(|start| case.starts_with(start));
            assert!(exported(&sample).is_some() || stays, "{} does not leave", sample.id);
        }
    }
}

#[test]
fn every_node_of_every_network_can_leave() {
    for name in built_in() {
        let spec = ModelSpec::load(name).unwrap();
        let built = spec.unbound().or_else(|_| spec.bind([3, 64, 64], 10)).unwrap();
        let (graph, _) = built.graph(Mode::Eval, 1).unwrap();
        for (node, of) in graph.nodes().iter().enumerate() {
            let NodeKind::Op(op) = &of.kind else { continue };
            let operator = OPERATORS.iter().find(|known| known.name == op.name());
            let form = operator.and_then(|operator| (operator.form)(&Site { graph: &graph, node }));
            assert!(form.is_some_and(|form| !form.onnx.is_empty()), "{name}: {}", of.label());
        }
    }
}

/// The types of a sample's ONNX nodes.
fn steps(id: &str) -> Vec<String> {
    let operator = registry().iter().find(|operator| id.starts_with(&format!("{}/", operator.name))).unwrap();
    let sample = (operator.samples)().into_iter().find(|sample| sample.id == id).unwrap();
    let nodes = exported(&sample).unwrap().graph.unwrap().node;
    nodes.into_iter().filter_map(|node| node.op_type).collect()
}

#[test]
fn operators_become_the_nodes_that_runtimes_know() {
    assert_eq!(steps("conv2d/groups"), ["Conv"]);
    assert_eq!(steps("linear/basic"), ["Gemm"]);
    assert_eq!(steps("linear/channels"), ["Transpose", "Transpose", "MatMul", "Add", "Transpose"]);
    assert_eq!(steps("layer_norm2d/plain"), ["Transpose", "LayerNormalization", "Transpose"]);
    assert_eq!(steps("batch_norm/eval"), ["BatchNormalization"]);
}

#[test]
fn a_graph_keeps_its_order_and_names() {
    let spec: ModelSpec = "input = [1, 4, 4]\nclasses = 2\nlayers = [{ name = \"a\", conv2d = { out_channels = 2, kernel_size \
        = 3, bias = false } }, { name = \"b\", batch_norm = {} }, \"relu\", \"flatten\", { name = \"c\", linear = { \
        out_features = \"classes\" } }]"
        .parse()
        .unwrap();
    let (graph, output) = spec.unbound().unwrap().graph(Mode::Eval, 1).unwrap();
    let values = crate::train::weights::initial(&graph, 0);
    let names = |fold| {
        let graph = model(&graph, output, &values, How { fold, open_batch: true }).unwrap().graph.unwrap();
        let node = |node: crate::exchange::proto::NodeProto| {
            format!(
                "{} {} -> {}",
                node.op_type.unwrap_or_default(),
                node.input.join(" "),
                node.output.join(" ")
            )
        };
        graph.node.into_iter().map(node).collect::<Vec<_>>()
    };
    assert_eq!(
        names(false),
        [
            "Conv images a.weight -> /a",
            "BatchNormalization /a b.weight b.bias b.running_mean b.running_var -> /b",
            "Relu /b -> /2",
            "Flatten /2 -> /3",
            "Gemm /3 c.weight c.bias -> logits",
        ]
    );
    assert_eq!(names(true)[..2], ["Conv images a.weight a.bias -> /a", "Relu /a -> /2"]);
}
