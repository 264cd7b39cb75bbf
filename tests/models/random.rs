//! No text makes a model file panic: random text, damaged model files, and model files of random layers with hostile
//! numbers.

use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use wgrad::graph::{Capabilities, Graph, Mode, TensorDesc, Value};
use wgrad::models::{ModelSpec, built_in, summary};
use wgrad::ops;
use wgrad::plan::{Plan, Program};

/// Everything that reads a model without running it; errors are fine, panics are not.
fn digest(text: &str) -> Result<(), TestCaseError> {
    let result = text.parse::<ModelSpec>().and_then(|spec| {
        let models = [spec.unbound(), spec.bind([3, 9, 8], 11)];
        models.into_iter().try_for_each(|model| {
            let model = model?;
            assert!(model.to_toml().is_some_and(|text| text.parse::<ModelSpec>().is_ok()));
            model.graph(Mode::Eval, 1).map(|(graph, _)| summary(&graph))?;
            let (mut graph, output) = model.graph(Mode::Train, 2)?;
            add_gradients(&mut graph, output)?;
            let program = Program::new(vec![graph], None, Capabilities::PORTABLE.max_storage_binding)?;
            Plan::lower(&program, &program.graphs[0], &Capabilities::PORTABLE).map(drop)
        })
    });
    let Err(error) = result else { return Ok(()) };
    let message = error.to_string();
    prop_assert!(!message.is_empty() && !message.contains('\n') && !message.ends_with('.'), "{message}");
    Ok(())
}

fn add_gradients(graph: &mut Graph, output: Value) -> wgrad::Result<()> {
    let upstream = graph.input("upstream", TensorDesc::f32(graph.shape(output).clone()));
    let parameters = graph.parameters();
    let grads = ops::gradients_of(graph, &[(output, upstream)], &parameters)?;
    for (parameter, grad) in parameters.into_iter().zip(grads) {
        if let Some(grad) = grad {
            graph.set_gradient(parameter, grad);
        }
    }
    Ok(())
}

/// Pieces of model files.
fn token() -> impl Strategy<Value = String> {
    let words = select(vec![
        "input",
        "layers",
        "example",
        "classes",
        "conv2d",
        "residual",
        "body",
        "shortcut",
        "concat",
        "branches",
        "blocks",
        "arguments",
        "\"$x\"",
        "repeat",
        "name",
        "names",
        "linear",
        "out_features",
        "kernel_size",
        "relu",
        "\"relu\"",
        "\"classes\"",
        "batch_norm",
        "true",
        "=",
        "=",
        "{",
        "}",
        "[",
        "]",
        ",",
        ",",
        "\n",
        "\"",
        "#",
        ".",
        "inf",
        "-",
        "\"\"\"",
        "\\u0000",
        "1979-05-27",
    ]);
    prop_oneof![8 => words.prop_map(str::to_string), 2 => number(), 1 => "\\PC{0,3}"]
}

fn number() -> impl Strategy<Value = String> {
    let hostile = select(vec![
        "-1",
        "255",
        "65536",
        "46341",
        "1073741824",
        "2147483647",
        "2147483648",
        "4294967296",
        "9223372036854775807",
        "-9223372036854775808",
        "0.5",
        "1e308",
        "nan",
        "-0.0",
    ]);
    prop_oneof![4 => (0..6).prop_map(|n: i32| n.to_string()), 2 => hostile.prop_map(str::to_string)]
}

/// A value of an argument; mostly of a type that arguments have.
fn value() -> impl Strategy<Value = String> {
    let pair = (number(), number()).prop_map(|(h, w)| format!("[{h}, {w}]"));
    let word = select(vec!["true", "false", "\"same\"", "\"tanh\"", "\"classes\"", "\"last\"", "[]", "{}"]);
    prop_oneof![6 => number(), 2 => pair, 1 => word.prop_map(str::to_string)]
}

/// Layers with the arguments that they need and those that they may have.
const LAYERS: &[(&str, &[&str], &[&str])] = &[
    ("adaptive_avg_pool2d", &["output_size"], &[]),
    (
        "avg_pool2d",
        &["kernel_size"],
        &["stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"],
    ),
    ("batch_norm", &[], &["eps", "momentum", "affine"]),
    ("conv2d", &["out_channels", "kernel_size"], &["stride", "padding", "dilation", "groups", "bias"]),
    ("drop_path", &[], &["p"]),
    ("dropout", &[], &["p"]),
    ("dropout2d", &[], &["p"]),
    ("elu", &[], &["alpha"]),
    ("flatten", &[], &[]),
    ("gelu", &[], &["approximate"]),
    ("global_avg_pool2d", &[], &[]),
    ("group_norm", &["num_groups"], &["eps", "affine"]),
    ("hardsigmoid", &[], &[]),
    ("hardswish", &[], &[]),
    ("instance_norm", &[], &["eps", "affine"]),
    ("layer_norm", &[], &["dims", "eps", "elementwise_affine", "bias"]),
    ("layer_norm2d", &[], &["eps", "affine"]),
    ("leaky_relu", &[], &["negative_slope"]),
    ("linear", &["out_features"], &["bias", "dim"]),
    ("max_pool2d", &["kernel_size"], &["stride", "padding", "dilation", "ceil_mode"]),
    ("relu", &[], &[]),
    ("relu6", &[], &[]),
    ("sigmoid", &[], &[]),
    ("silu", &[], &[]),
    ("softplus", &[], &["beta", "threshold"]),
    ("tanh", &[], &[]),
];

#[test]
fn random_networks_have_all_layers() {
    let known: Vec<&str> = ops::registry().iter().filter(|op| op.layer.is_some()).map(|op| op.name).collect();
    assert_eq!(LAYERS.iter().map(|(name, ..)| *name).collect::<Vec<_>>(), known);
}

/// A layer; what it needs is mostly there, so that many models get as far as their shapes.
fn operator() -> impl Strategy<Value = String> {
    let given = prop_oneof![3 => Just(None), 1 => value().prop_map(Some)];
    (select(LAYERS), prop::collection::vec(given, 7)).prop_map(|((name, needed, optional), given)| {
        let defaults = needed.iter().map(|argument| (argument, Some("2".to_string())));
        let arguments = defaults.chain(optional.iter().map(|argument| (argument, None)));
        let arguments: Vec<String> = arguments
            .zip(given)
            .filter_map(|((argument, default), given)| Some(format!("{argument} = {}", given.or(default)?)))
            .collect();
        format!("{{ {name} = {{ {} }} }}", arguments.join(", "))
    })
}

fn layer() -> impl Strategy<Value = String> {
    operator().prop_recursive(3, 12, 4, |layer| {
        let list = |sizes: Range<usize>| {
            prop::collection::vec(layer.clone(), sizes).prop_map(|layers| format!("[{}]", layers.join(", ")))
        };
        prop_oneof![
            (list(1..3), list(0..2)).prop_map(|(body, shortcut)| {
                format!("{{ residual = {{ body = {body}, shortcut = {shortcut} }} }}")
            }),
            list(1..3).prop_map(|layers| format!("{{ sequential = {{ layers = {layers} }} }}")),
            (list(0..2), list(0..3)).prop_map(|(a, b)| format!("{{ concat = {{ branches = [{a}, {b}] }} }}")),
        ]
    })
}

fn network() -> impl Strategy<Value = String> {
    let input = prop_oneof![
        3 => Just("[3, 9, 8]".to_string()),
        1 => (number(), number(), number()).prop_map(|(c, h, w)| format!("[{c}, {h}, {w}]")),
    ];
    (input, prop::collection::vec(layer(), 1..5))
        .prop_map(|(input, layers)| format!("input = {input}\nlayers = [\n{}\n]", layers.join(",\n")))
}

/// A built-in model with pieces cut out and tokens put in.
fn damaged() -> impl Strategy<Value = String> {
    let edit = (any::<Index>(), 0..4_usize, token());
    (select(built_in().collect::<Vec<_>>()), prop::collection::vec(edit, 1..4)).prop_map(|(name, edits)| {
        let mut text: Vec<char> = ModelSpec::load(name).unwrap().text().chars().collect();
        for (at, cut, token) in edits {
            let at = at.index(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, token.chars());
        }
        text.into_iter().collect()
    })
}

/// 2,000 cases, or as many as the variable `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        config
    } else {
        ProptestConfig { cases: 2000, ..config }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_text_is_a_model_or_an_error(text in "\\PC*") {
        digest(&text)?;
    }

    #[test]
    fn any_tokens_are_a_model_or_an_error(tokens in prop::collection::vec(token(), 0..40)) {
        digest(&tokens.join(" "))?;
    }

    #[test]
    fn any_damage_leaves_a_model_or_an_error(text in damaged()) {
        digest(&text)?;
    }

    #[test]
    fn any_layers_are_a_model_or_an_error(text in network()) {
        digest(&text)?;
    }
}
