//! The activations far out, at infinities, at kinks and near 0, where their outputs are small and must keep their digits.

use std::sync::Arc;

use wgrad::graph::{Graph, Mode, Step, TensorDesc};
use wgrad::ops::{self, fill::Fill};

use super::run_everywhere;

/// An activation with PyTorch's values at INPUTS (f32 numbers, computed in f64):
/// `x = torch.tensor(INPUTS).double().requires_grad_(); y = f(x); y.backward(torch.ones_like(y))`.
struct Case {
    op: &'static str,
    arguments: &'static str,
    values: &'static str,
    derivatives: &'static str,
}

const INPUTS: &str =
    "-inf -10000 -100 -20 -3 -1 -0.5 -0.01 -0.0001 0 0.0001 0.01 0.5 1 3 15 100 10000 inf NaN";

const CASES: &[Case] = &[
    Case {
        op: "relu",
        arguments: "",
        values: "0 0 0 0 0 0 0 0 0 0 9.99999975e-05 0.00999999978 0.5 1 3 15 100 10000 inf NaN",
        derivatives: "0 0 0 0 0 0 0 0 0 0 1 1 1 1 1 1 1 1 1 1",
    },
    Case {
        op: "relu6",
        arguments: "",
        values: "0 0 0 0 0 0 0 0 0 0 9.99999975e-05 0.00999999978 0.5 1 3 6 6 6 6 NaN",
        derivatives: "0 0 0 0 0 0 0 0 0 0 1 1 1 1 1 0 0 0 0 1",
    },
    Case {
        op: "leaky_relu",
        arguments: "negative_slope = 0.25",
        values: "-inf -2500 -25 -5 -0.75 -0.25 -0.125 -0.00249999994 -2.49999994e-05 0 9.99999975e-05 0.00999999978 \
        0.5 1 3 15 100 10000 inf NaN",
        derivatives: "0.25 0.25 0.25 0.25 0.25 0.25 0.25 0.25 0.25 0.25 1 1 1 1 1 1 1 1 1 0.25",
    },
    Case {
        op: "elu",
        arguments: "alpha = 1.5",
        values: "-1.5 -1.5 -1.5 -1.5 -1.4253194 -0.948180838 -0.59020401 -0.014925249 -0.000149992496 0 \
        9.99999975e-05 0.00999999978 0.5 1 3 15 100 10000 inf NaN",
        derivatives: "0 0 0 3.09173043e-09 0.0746806026 0.551819162 0.90979599 1.48507475 1.49985001 1.5 1 1 1 1 1 1 1 1 1 \
        1",
    },
    Case {
        op: "gelu",
        arguments: "",
        values: "NaN 0 0 0 -0.00404969409 -0.158655254 -0.154268769 -0.00496010633 -4.99960093e-05 0 5.00039882e-05 \
        0.00503989345 0.345731231 0.841344746 2.99595031 15 100 10000 inf NaN",
        derivatives: "NaN 0 0 0 -0.0119456472 -0.0833154706 0.132504875 0.492021421 0.499920212 0.5 0.500079788 \
        0.507978579 0.867495125 1.08331547 1.01194565 1 1 1 NaN NaN",
    },
    Case {
        op: "gelu",
        arguments: r#"approximate = "tanh""#,
        values: "NaN 0 0 0 -0.00363739208 -0.158808009 -0.15428599 -0.00496010633 -4.99960093e-05 0 5.00039882e-05 \
        0.00503989345 0.34571401 0.841191991 2.99636261 15 100 10000 inf NaN",
        derivatives: "NaN 0 0 0 -0.0115841666 -0.0829640838 0.132630096 0.492021422 0.499920212 0.5 0.500079788 \
        0.507978578 0.867369904 1.08296408 1.01158417 1 1 1 NaN NaN",
    },
    Case {
        op: "silu",
        arguments: "",
        values: "NaN 0 0 -4.12230724e-08 -0.14227762 -0.268941421 -0.188770334 -0.0049750001 -4.99974987e-05 0 \
        5.00024987e-05 0.00502499968 0.311229666 0.731058579 2.85772238 14.9999954 100 10000 inf NaN",
        derivatives: "NaN 0 0 -3.91619187e-08 -0.088104106 0.0723294881 0.260038813 0.495000083 0.49995 0.5 0.50005 \
        0.504999917 0.739961187 0.927670512 1.08810411 1.00000428 1 1 NaN NaN",
    },
    Case {
        op: "hardswish",
        arguments: "",
        values: "NaN 0 0 0 0 -0.333333333 -0.208333333 -0.00498333322 -4.99983321e-05 0 5.00016654e-05 0.00501666655 \
        0.291666667 0.666666667 3 15 100 10000 inf NaN",
        derivatives: "0 0 0 0 0 0.166666667 0.333333333 0.496666667 0.499966667 0.5 0.500033333 0.503333333 0.666666667 \
        0.833333333 1 1 1 1 1 1",
    },
    Case {
        op: "sigmoid",
        arguments: "",
        values: "0 0 0 2.06115362e-09 0.0474258732 0.268941421 0.377540669 0.497500021 0.499975 0.5 0.500025 \
        0.502499979 0.622459331 0.731058579 0.952574127 0.999999694 1 1 1 NaN",
        derivatives: "0 0 0 2.06115361e-09 0.0451766597 0.196611933 0.235003712 0.24999375 0.249999999 0.25 0.249999999 \
        0.24999375 0.235003712 0.196611933 0.0451766597 3.05902133e-07 0 0 0 NaN",
    },
    Case {
        op: "tanh",
        arguments: "",
        values: "-1 -1 -1 -1 -0.995054754 -0.761594156 -0.462117157 -0.00999966646 -9.99999971e-05 0 9.99999971e-05 \
        0.00999966646 0.462117157 0.761594156 0.995054754 1 1 1 1 NaN",
        derivatives: "0 0 0 0 0.00986603717 0.419974342 0.786447733 0.999900007 0.99999999 1 0.99999999 0.999900007 \
        0.786447733 0.419974342 0.00986603717 3.74367204e-13 0 0 0 NaN",
    },
    Case {
        op: "softplus",
        arguments: "",
        values: "0 0 0 2.06115362e-09 0.0485873516 0.313261688 0.474076984 0.688159681 0.693097182 0.693147181 \
        0.693197182 0.69815968 0.974076984 1.31326169 3.04858735 15.0000003 100 10000 inf NaN",
        derivatives: "0 0 0 2.06115362e-09 0.0474258732 0.268941421 0.377540669 0.497500021 0.499975 0.5 0.500025 \
        0.502499979 0.622459331 0.731058579 0.952574127 0.999999694 1 1 1 NaN",
    },
    Case {
        op: "softplus",
        arguments: "beta = 2.0\nthreshold = 3.0",
        values: "0 0 0 2.12417713e-18 0.00123784257 0.0634640055 0.156630844 0.34159859 0.346523593 0.34657359 \
        0.346623593 0.35159859 0.656630844 1.06346401 3 15 100 10000 inf NaN",
        derivatives: "0 0 0 4.24835426e-18 0.00247262316 0.119202922 0.268941421 0.495000167 0.49995 0.5 0.50005 \
        0.504999833 0.731058579 0.880797078 1 1 1 1 1 NaN",
    },
];

fn numbers(text: &str) -> Vec<f32> {
    text.split_whitespace().map(|number| number.parse().expect("a number")).collect()
}

#[test]
fn activations_are_pytorchs_at_the_extremes() {
    let inputs = numbers(INPUTS);
    let failures: Vec<String> = CASES.iter().flat_map(|case| check(case, &inputs)).collect();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn check(case: &Case, inputs: &[f32]) -> Vec<String> {
    let operator = ops::registry().iter().find(|operator| operator.name == case.op).expect("registered");
    let parse = operator.layer.expect("activations are layers");
    let layer = parse(case.arguments.parse().expect("TOML")).expect("its arguments");
    let mut graph = Graph::new(Mode::Train);
    let x = graph.input("x", TensorDesc::f32([inputs.len()]));
    let y = layer.build(&mut graph, x).expect("any shape");
    let ones = graph.apply1(Fill { shape: [inputs.len()].into(), value: 1.0 }, &[]).expect("a shape");
    let dx = ops::gradients_of(&mut graph, &[(y, ones)], &[x]).expect("a gradient")[0];
    graph.output("values", y);
    graph.output("derivatives", dx.expect("y depends on x"));
    let mut failures = vec![];
    for (device, outputs) in run_everywhere(Arc::new(graph), &[("x", inputs)], &Step::default()) {
        for (name, wanted) in [("values", case.values), ("derivatives", case.derivatives)] {
            for ((x, got), want) in inputs.iter().zip(&outputs[name]).zip(numbers(wanted)) {
                if !agrees(*x, *got, want) {
                    let Case { op, arguments, .. } = case;
                    failures
                        .push(format!("{op} {arguments:?} on {device}: {name} at {x}: {got}, not {want}"));
                }
            }
        }
    }
    failures
}

/// Within a few ulps of the result, and near 0 of the input: 1 + tanh(x) and the like cancel in PyTorch too.
fn agrees(x: f32, got: f32, want: f32) -> bool {
    if !want.is_finite() {
        return got.is_nan() == want.is_nan() && (want.is_nan() || got == want);
    }
    let scale = if x.abs() < 4.0 { x.abs() } else { 4.0 };
    (got - want).abs() <= 1e-6 * want.abs() + 2e-7 * scale
}
