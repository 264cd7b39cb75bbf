//! Files as other tools write them, of a few nodes.

use std::path::Path;

use prost::Message;

use super::super::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, data_type,
};
use super::super::tensors::{floats, integers};
use super::{Imported, read};

/// A node by its operator, the names of its inputs, and lists of integers.
fn node(op: &str, inputs: &[&str], output: &str, attributes: &[(&str, &[i64])]) -> NodeProto {
    let attribute = |(name, values): &(&str, &[i64])| AttributeProto {
        name: Some(name.to_string()),
        i: values.first().copied(),
        ints: values.to_vec(),
        ..Default::default()
    };
    NodeProto {
        input: inputs.iter().map(|name| name.to_string()).collect(),
        output: vec![output.to_string()],
        op_type: Some(op.to_string()),
        attribute: attributes.iter().map(attribute).collect(),
        ..Default::default()
    }
}

/// A file with images [1, 4, 6, 8] as `x`; the output is that of the last node.
fn file(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> Result<Imported, String> {
    let value = |name: &str, dims: &[i64]| ValueInfoProto {
        name: Some(name.to_string()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(data_type::FLOAT),
                shape: Some(TensorShapeProto {
                    dim: dims
                        .iter()
                        .map(|dim| DimensionProto { dim_value: Some(*dim), dim_param: None })
                        .collect(),
                }),
            }),
        }),
    };
    let output = nodes.last().map_or("", |node| &node.output[0]);
    let graph = GraphProto {
        input: vec![value("x", &[1, 4, 6, 8])],
        output: vec![value(output, &[1, 3])],
        node: nodes,
        initializer: constants,
        ..Default::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: None, version: Some(18) }];
    let model = ModelProto { graph: Some(graph), opset_import, ..Default::default() };
    read("test.onnx", &model.encode_to_vec(), Path::new("."))
}

/// What a product with `w` [4, 3] ends in.
fn head() -> TensorProto {
    floats("w", &[4, 3], &[0.5; 12])
}

#[test]
fn views_are_no_layers() {
    // The mean of all pixels, its sizes changed back and forth, and a gather of all elements in their order.
    let nodes = vec![
        node("ReduceMean", &["x", "axes"], "mean", &[("keepdims", &[0])]),
        node("Unsqueeze", &["mean", "axes"], "images", &[]),
        node("Reshape", &["images", "all"], "list", &[]),
        node("Gather", &["list", "places"], "table", &[("axis", &[0])]),
        node("Transpose", &["images", "perm"], "last", &[("perm", &[0, 2, 3, 1])]),
        node("Squeeze", &["last", "pixels"], "rows", &[]),
        node("Mul", &["x", "images"], "scaled", &[]),
        node("MatMul", &["rows", "w"], "y", &[]),
    ];
    let constants = vec![
        integers("axes", &[2, 3]),
        integers("pixels", &[1, 2]),
        integers("all", &[-1]),
        integers("places", &[0, 1, 2, 3]),
        integers("perm", &[]),
        head(),
    ];
    let imported = file(nodes, constants).unwrap();
    let text = &imported.about.model;
    assert_eq!(text.matches("flatten").count(), 1, "{text}");
    assert!(["global_avg_pool2d", "mul", "linear"].iter().all(|layer| text.contains(layer)), "{text}");
}

#[test]
fn padding_goes_into_the_layer_behind_it() {
    let nodes = |layer: NodeProto| {
        vec![
            node("Pad", &["x", "pads"], "padded", &[]),
            layer,
            node("GlobalAveragePool", &["made"], "mean", &[]),
            node("Flatten", &["mean"], "rows", &[]),
            node("MatMul", &["rows", "w"], "y", &[]),
        ]
    };
    let pads = || integers("pads", &[0, 0, 0, 1, 0, 0, 2, 1]);
    let conv = node("Conv", &["padded", "k"], "made", &[("strides", &[2, 2])]);
    let kernel = floats("k", &[4, 4, 3, 3], &[0.1; 144]);
    let imported = file(nodes(conv), vec![pads(), kernel, head()]).unwrap();
    assert!(imported.about.model.contains("padding = [0, 1, 2, 1]"), "{}", imported.about.model);
    let window: &[(&str, &[i64])] = &[("kernel_shape", &[3, 3])];
    let refused = file(nodes(node("MaxPool", &["padded"], "made", window)), vec![pads(), head()]);
    assert!(refused.unwrap_err().contains("zeros, which may be the largest"));
    let refused = file(nodes(node("Relu", &["padded"], "made", &[])), vec![pads(), head()]);
    assert!(refused.unwrap_err().contains("padded by [0, 1, 2, 1]"));
}

#[test]
fn what_is_left_of_shapes_is_computed() {
    // 48 = 6 x 8, as an exporter finds it; the cast and the ceiling are of PyTorch's dynamic "same" padding.
    let nodes = vec![
        node("Shape", &["x"], "sizes", &[]),
        node("Slice", &["sizes", "two", "four"], "pixels", &[]),
        node("Gather", &["pixels", "zero"], "h", &[("axis", &[0])]),
        node("Gather", &["pixels", "one"], "w8", &[("axis", &[0])]),
        node("Cast", &["w8"], "wide", &[("to", &[1])]),
        node("Div", &["wide", "half"], "double", &[]),
        node("Ceil", &["double"], "whole", &[]),
        node("Cast", &["whole"], "sixteen", &[("to", &[7])]),
        node("Div", &["sixteen", "two"], "eight", &[]),
        node("Mul", &["h", "eight"], "product", &[]),
        node("Concat", &["head", "product"], "target", &[("axis", &[0])]),
        node("Reshape", &["x", "target"], "flat", &[]),
        node("ReduceMean", &["flat", "two"], "mean", &[("keepdims", &[0])]),
        node("MatMul", &["mean", "w"], "y", &[]),
    ];
    let constants = vec![
        integers("zero", &[0]),
        integers("one", &[1]),
        integers("two", &[2]),
        integers("four", &[4]),
        integers("head", &[1, 4]),
        floats("half", &[], &[0.5]),
        head(),
    ];
    let imported = file(nodes, constants).unwrap();
    assert!(imported.about.model.contains("global_avg_pool2d"), "{}", imported.about.model);
}

#[test]
fn what_no_layer_does_is_named() {
    let end = || vec![node("Flatten", &["made"], "rows", &[]), node("MatMul", &["rows", "w"], "y", &[])];
    let check = |first: NodeProto, constants: Vec<TensorProto>, words: &[&str]| {
        let nodes = [vec![first], end()].concat();
        let message = file(nodes, [constants, vec![head()]].concat()).unwrap_err();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    let part = vec![integers("from", &[0]), integers("to", &[2]), integers("axis", &[1])];
    check(
        node("Slice", &["x", "from", "to", "axis"], "made", &[]),
        part,
        &["Slice \"made\"", "takes a part"],
    );
    check(node("Transpose", &["x"], "made", &[("perm", &[0, 1, 3, 2])]), vec![], &["Transpose", "perm"]);
    check(node("Shape", &["x"], "made", &[]), vec![], &["MatMul", "computes with constants"]);
    check(node("Cast", &["x"], "made", &[("to", &[10])]), vec![], &["Cast", "type 10"]);
    let training =
        TensorProto { data_type: Some(data_type::BOOL), int32_data: vec![1], ..Default::default() };
    let training = TensorProto { name: Some("training".to_string()), ..training };
    let ratio = floats("ratio", &[], &[0.5]);
    check(node("Dropout", &["x", "ratio", "training"], "made", &[]), vec![ratio, training], &["at random"]);
    let huge = vec![integers("sizes", &[1 << 20, 1 << 20, 1 << 20])];
    check(node("Expand", &["w", "sizes"], "made", &[]), huge, &["Expand", "constants"]);
    let huge = vec![integers("sizes", &[0, 1 << 60])];
    check(node("Expand", &["w", "sizes"], "made", &[]), huge, &["Expand", "constants"]);
    let many = ["w"; 1000];
    check(node("Concat", &many, "made", &[("axis", &[0])]), vec![], &["MatMul", "constant"]);
    let many = vec!["list"; 100_000];
    let list = vec![integers("list", &[0; 1000])];
    check(node("Concat", &many, "made", &[("axis", &[0])]), list, &["Concat", "more of constants"]);
    let empty =
        NodeProto { op_type: Some("Constant".to_string()), ..node("", &[], "made", &[("value_int", &[])]) };
    check(empty, vec![], &["Flatten", "computes with constants"]);
}
