//! Norms and matrix products beyond their samples: many slabs and tiles on every adapter, means that are large beside the
//! deviation, independence of the number of threads, running statistics, errors.

use std::sync::Arc;

use wgrad::cpu::Session;
use wgrad::graph::{Graph, Init, Mode, Step, TensorDesc, Value};
use wgrad::ops::{self, Draw, Sample, add::Add, fill::Fill};
use wgrad::ops::{batch_norm, flatten, group_norm, instance_norm, layer_norm, layer_norm2d, linear, matmul};
use wgrad::plan::{Data, PageList, Program};
use wgrad::selftest::{Case, check_on_gpu, max_abs};
use wgrad::{Result, gpu};

type Apply = fn(&mut Graph, &[Value]) -> Result<Vec<Value>>;

/// Inputs too large for gradient checks: many slabs, several tiles, more elements than a workgroup has invocations.
fn large() -> Vec<Sample> {
    let case = |id: &str, shapes: &[&[usize]], apply: Apply| {
        let inputs = shapes.iter().map(|shape| (shape.to_vec(), Draw::Normal)).collect();
        Sample::new(format!("large/{id}"), inputs, apply)
    };
    vec![
        case("batch_norm", &[&[3, 33, 37, 41], &[33], &[33]], |g, v| g.apply(TRAIN, v)),
        case("batch_norm-matrix", &[&[2017, 3], &[3], &[3]], |g, v| g.apply(TRAIN, v)),
        case("batch_norm-far-mean", &[&[2, 5, 23, 19], &[5], &[5]], |g, v| {
            let far = g.apply1(Fill { shape: [].into(), value: 1000.0 }, &[])?;
            let input = g.apply1(Add::default(), &[v[0], far])?;
            g.apply(TRAIN, &[input, v[1], v[2]])
        }),
        case("layer_norm-far-mean", &[&[5, 257], &[257], &[257]], |g, v| {
            let far = g.apply1(Fill { shape: [].into(), value: 1000.0 }, &[])?;
            let input = g.apply1(Add::default(), &[v[0], far])?;
            g.apply(layer_norm::Normalization::new(layer_norm::LayerNorm::default()), &[input, v[1], v[2]])
        }),
        case("layer_norm", &[&[70, 3, 13, 11], &[3, 13, 11], &[3, 13, 11]], |g, v| {
            g.apply(layer_norm::Normalization::new(layer_norm::LayerNorm::default()), v)
        }),
        case("layer_norm2d", &[&[2, 97, 29, 31], &[97], &[97]], |g, v| {
            g.apply(layer_norm2d::Normalization::new(layer_norm2d::LayerNorm2d::default()), v)
        }),
        case("group_norm", &[&[3, 64, 17, 19], &[64], &[64]], |g, v| {
            g.apply(group_norm::Normalization::new(group_norm::GroupNorm::new(4)), v)
        }),
        case("instance_norm", &[&[2, 37, 19, 23]], |g, v| {
            g.apply(instance_norm::Normalization::new(instance_norm::InstanceNorm::default()), v)
        }),
        case("linear", &[&[67, 1031], &[129, 1031], &[129]], |g, v| g.apply(linear::Affine::default(), v)),
        case("linear-tokens", &[&[7, 131, 5], &[259, 5], &[259]], |g, v| {
            g.apply(linear::Affine::default(), v)
        }),
        case("matmul", &[&[131, 301], &[301, 77]], |g, v| g.apply(matmul::Matmul::default(), v)),
        case("flatten", &[&[3, 67, 19, 17]], |g, v| g.apply(flatten::ToRows, v)),
    ]
}

const TRAIN: batch_norm::Normalization = batch_norm::Normalization::new(1e-5, Mode::Train);

#[test]
fn large_tensors_agree_on_every_adapter() {
    let adapters = pollster::block_on(gpu::adapters());
    let required = std::env::var_os("WGRAD_REQUIRE_GPU").is_some();
    assert!(!(required && adapters.is_empty()), "WGRAD_REQUIRE_GPU is set, but there is no adapter");
    let mut failures = vec![];
    for adapter in &adapters {
        let device = Arc::new(pollster::block_on(gpu::Gpu::open(adapter)).expect("the adapter opens"));
        for sample in large() {
            let checked = pollster::block_on(check_on_gpu(&device, &sample));
            failures.extend(checked.err().map(|error| format!("{}: {error}", adapter.name)));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// The tolerance of GPUs is in terms of the CPU's own error, so that is bounded here.
#[test]
fn f32_on_the_cpu_is_close_to_f64() {
    for sample in large() {
        let case = Case::new(&sample).expect("builds");
        let (reference, outputs) = (case.run_cpu::<f64>(), case.run_cpu::<f32>());
        // Rounding the input itself costs 1000 2^-24 there.
        let bound = if sample.id.ends_with("far-mean") { 1e-4 } else { 2e-6 };
        for (name, wanted) in &reference {
            let error = max_abs(wanted.iter().zip(&outputs[name]).map(|(a, b)| a - b));
            let relative = error / max_abs(wanted.iter().copied());
            assert!(relative < bound, "{sample:?}: {name} is off by {relative:e} of its largest magnitude");
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for sample in large() {
        let case = Case::new(&sample).expect("builds");
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
            pool.install(|| case.run_cpu::<f32>())
        };
        assert!(run(1) == run(3), "{sample:?}");
    }
}

#[test]
fn batch_norm_keeps_running_statistics_and_evaluates_with_them() {
    let layer = |graph: &mut Graph, shape: &[usize]| {
        let input = graph.input("input", TensorDesc::f32(shape));
        let output = parse("batch_norm", "eps = 0.0").build(graph, input).expect("builds");
        graph.output("output", output);
    };
    let mut train = Graph::new(Mode::Train);
    layer(&mut train, &[4, 1]);
    let names: Vec<&str> = train.statistics().iter().map(|value| &*train.nodes()[value.node].name).collect();
    assert_eq!(names, ["running_mean", "running_var"]);
    for (update, output) in train.statistic_updates().to_vec().iter().zip(["mean", "var"]) {
        assert_eq!(update.momentum, 0.1);
        train.output(output, update.batch);
    }
    let outputs = run(train, &[1.0, 2.0, 3.0, 6.0], &[], &["mean", "var"]);
    assert_eq!(outputs, [[3.0], [14.0 / 3.0]]);

    let mut eval = Graph::new(Mode::Eval);
    layer(&mut eval, &[1, 1]);
    assert!(eval.statistic_updates().is_empty());
    // Pages are laid out in steps of 128 elements: weight, bias; running_mean, running_var.
    let outputs = run(
        eval,
        &[7.0],
        &[(PageList::Parameters, [2.0, 1.0]), (PageList::Statistics, [3.0, 4.0])],
        &["output"],
    );
    assert_eq!(outputs, [[(7.0 - 3.0) / 2.0 * 2.0 + 1.0]]);
}

fn run(graph: Graph, input: &[f32], pages: &[(PageList, [f32; 2])], outputs: &[&str]) -> Vec<Vec<f32>> {
    let program = Arc::new(Program::new(vec![graph], None, 128 << 20).expect("a small program"));
    let mut session = Session::<f32>::new(program.clone());
    for (list, values) in pages {
        let page = &mut session.pages_mut(*list)[0];
        (page[0], page[128]) = (values[0], values[1]);
    }
    session.run(0, &[("input", Data::Real(input))], &Step::default());
    outputs.iter().map(|name| session.output(name).expect("an output").to_vec()).collect()
}

fn parse(name: &str, arguments: &str) -> Box<dyn ops::Layer> {
    let operator = ops::registry().iter().find(|operator| operator.name == name).expect("registered");
    let parse = operator.layer.expect("a layer");
    parse(arguments.parse().expect("TOML")).expect("known arguments")
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let cases: &[(&str, &str, &[usize], &str)] = &[
        (
            "batch_norm",
            "",
            &[1, 5, 1, 1],
            "expects more than 1 value per channel when training, the input is [1, 5, 1, 1]",
        ),
        ("batch_norm", "", &[2, 5, 7], "input must be [N, C, H, W] or [N, C], it is [2, 5, 7]"),
        (
            "group_norm",
            "num_groups = 4",
            &[2, 6, 3, 3],
            "num_groups 4 must divide the 6 input channels ([2, 6, 3, 3])",
        ),
        ("group_norm", "num_groups = 0", &[2, 6], "num_groups 0 must divide the 6 input channels ([2, 6])"),
        (
            "group_norm",
            "num_groups = 3",
            &[1, 3, 1, 1],
            "expects more than 1 value per group, the input is [1, 3, 1, 1]",
        ),
        (
            "instance_norm",
            "",
            &[3, 5, 1, 1],
            "expects more than 1 spatial element, the input is [3, 5, 1, 1]",
        ),
        ("layer_norm", "dims = \"chw\"", &[3, 5], "dims \"chw\" needs [N, C, H, W], the input is [3, 5]"),
        (
            "layer_norm",
            "dims = \"last\"",
            &[3, 5, 2, 2],
            "dims \"last\" needs [N, D] or [N, T, D], the input is [3, 5, 2, 2]",
        ),
        ("layer_norm2d", "", &[3, 5], "input must be [N, C, H, W], it is [3, 5]"),
        (
            "linear",
            "out_features = 3",
            &[2, 5, 1, 1],
            "input must be [N, in] or [N, T, in], it is [2, 5, 1, 1]; put a flatten layer before it, or say dim = \"channels\"",
        ),
        ("flatten", "", &[3], "input must have 2 to 4 dimensions, it is [3]"),
    ];
    for (name, arguments, shape, wanted) in cases {
        let mut graph = Graph::new(Mode::Train);
        let input = graph.input("input", TensorDesc::f32(*shape));
        let error =
            graph.scope("3", |graph| parse(name, arguments).build(graph, input)).expect_err("does not fit");
        assert_eq!(error.to_string(), format!("{name} \"3\": {wanted}"));
    }
}

#[test]
fn factors_that_do_not_fit_are_named() {
    let mut graph = Graph::new(Mode::Train);
    let a = graph.input("a", TensorDesc::f32([3, 5]));
    let b = graph.parameter("b", [7, 4], Init::Default).expect("a new name");
    let product = |graph: &mut Graph, b_transposed| {
        let op = matmul::Matmul { a_transposed: false, b_transposed };
        graph.apply(op, &[a, b]).expect_err("does not fit").to_string()
    };
    assert_eq!(product(&mut graph, false), "matmul \"matmul\": [3, 5] cannot be multiplied with [7, 4]");
    assert!(product(&mut graph, true).ends_with("[3, 5] cannot be multiplied with [7, 4] transposed"));
    let message = graph.apply(linear::Affine::default(), &[a, b]).expect_err("does not fit").to_string();
    assert_eq!(message, "linear \"linear\": weight [7, 4] expects 4 input features, the input is [3, 5]");
}
