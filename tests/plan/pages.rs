//! Gradients and statistics reach their pages: computed there, or copied where one value belongs in two places or a
//! dispatch would read and write one page.

use std::sync::Arc;

use pollster::block_on;
use wgrad::cpu;
use wgrad::gpu::{self, Gpu};
use wgrad::graph::{Graph, Init, Mode, ParameterGroup, Step, TensorDesc, Value};
use wgrad::ops::{Layer, add::Add, gradients, mse::Mse, mul::Mul, relu::Relu, tanh::Tanh};
use wgrad::optim::Sgd;
use wgrad::plan::{Command, Data, Optimizer, PageList, Plan, Program};
use wgrad::selftest::serially;

use super::PORTABLE;
use super::replay::replay;

/// A graph that ends in the loss and in the gradients of its parameters, and how many copies its plan needs.
struct Case {
    name: &'static str,
    copies: usize,
    graph: Graph,
}

impl Case {
    /// `build` makes a value from the parameters `p` and `q` and the input `x`, which is compared with zeros by `mse`.
    fn new(
        name: &'static str,
        copies: usize,
        build: impl Fn(&mut Graph, Value, Value, Value) -> wgrad::Result<Value>,
    ) -> Case {
        let mut graph = Graph::new(Mode::Train);
        let p = graph.parameter("p", SHAPE, Init::Default).unwrap();
        let q = graph.parameter("q", SHAPE, Init::Default).unwrap();
        let [x, target] = ["x", "target"].map(|name| graph.input(name, TensorDesc::f32(SHAPE)));
        let y = build(&mut graph, p, q, x).unwrap();
        let loss = graph.apply1(Mse::default(), &[y, target]).unwrap();
        graph.output("loss", loss);
        let missing: Vec<Value> =
            [p, q].into_iter().filter(|parameter| !graph.gradients().contains_key(parameter)).collect();
        let found = gradients(&mut graph, loss, &missing).unwrap();
        for (parameter, gradient) in missing.into_iter().zip(found) {
            if let Some(gradient) = gradient {
                graph.set_gradient(parameter, gradient);
            }
        }
        Case { name, copies, graph }
    }
}

const SHAPE: [usize; 2] = [9, 11];

fn cases() -> Vec<Case> {
    vec![
        Case::new("one value is the gradient of both", 2, |graph, p, q, _| {
            graph.apply1(Add::default(), &[p, q])
        }),
        Case::new("a parameter is used twice at once", 0, |graph, p, q, _| {
            let sum = graph.apply1(Add::default(), &[p, p])?;
            graph.apply1(Mul::default(), &[sum, q])
        }),
        Case::new("a parameter is used in two places", 1, |graph, p, q, x| {
            let product = graph.apply1(Mul::default(), &[p, x])?;
            let sum = graph.apply1(Add::default(), &[product, p])?;
            graph.apply1(Add::default(), &[sum, q])
        }),
        Case::new("one gradient is computed from the other", 1, |graph, p, q, _| {
            let y = Relu {}.build(graph, q)?;
            graph.apply1(Add::default(), &[p, y])
        }),
        Case::new("a gradient is an input", 1, |graph, p, q, x| {
            graph.set_gradient(p, x);
            Tanh {}.build(graph, q)
        }),
        Case::new("both gradients are one input", 2, |graph, p, q, x| {
            graph.set_gradient(p, x);
            graph.set_gradient(q, x);
            graph.apply1(Add::default(), &[p, q])
        }),
        Case::new("a gradient is a parameter", 1, |graph, p, q, _| {
            graph.set_gradient(p, q);
            graph.apply1(Mul::default(), &[p, q])
        }),
        Case::new("a gradient is also an output", 0, |graph, p, q, x| {
            let y = graph.apply1(Mul::default(), &[q, x])?;
            graph.set_gradient(p, y);
            graph.output("gradient", y);
            graph.apply1(Mul::default(), &[y, p])
        }),
        Case::new("a parameter has no gradient", 0, |graph, p, _, x| graph.apply1(Mul::default(), &[p, x])),
        Case::new("a statistic is also a gradient", 1, |graph, p, q, x| {
            let y = graph.apply1(Mul::default(), &[q, x])?;
            let running = graph.statistic("running", SHAPE, 0.5)?;
            graph.update_statistic(running, y, 0.25);
            graph.set_gradient(p, y);
            graph.apply1(Add::default(), &[y, p])
        }),
        Case::new("one statistic is computed from another", 1, |graph, p, q, x| {
            let y = graph.apply1(Mul::default(), &[p, x])?;
            let z = Tanh {}.build(graph, y)?;
            for (name, batch) in [("first", y), ("second", z)] {
                let running = graph.statistic(name, SHAPE, 0.5)?;
                graph.update_statistic(running, batch, 0.1);
            }
            graph.apply1(Mul::default(), &[z, q])
        }),
        Case::new("statistics of an input and of each other", 2, |graph, p, q, x| {
            let [first, second] = ["first", "second"].map(|name| graph.statistic(name, SHAPE, 0.5).unwrap());
            graph.update_statistic(first, x, 0.1);
            graph.update_statistic(second, first, 0.1);
            graph.apply1(Mul::default(), &[p, q])
        }),
    ]
}

fn program(graph: Graph) -> Program {
    let groups = vec![ParameterGroup { rate: 1.0, weight_decay: 0.1 }; graph.parameters().len()];
    let update = Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: false });
    Program::new(vec![graph], Some(Optimizer::new(update, groups)), 128 << 20).unwrap()
}

#[test]
fn gradients_and_statistics_are_copied_only_where_they_must_be() {
    for Case { name, copies, graph } in cases() {
        let program = program(graph);
        let plan = Plan::lower(&program, &program.graphs[0], PORTABLE).unwrap();
        replay(&program, &program.graphs[0], &plan, PORTABLE)
            .unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        let found = plan.commands.iter().filter(|command| matches!(command, Command::Copy { .. })).count();
        assert_eq!(found, copies, "{name}");
    }
}

const LISTS: [PageList; 5] = [
    PageList::Gradients,
    PageList::BatchStatistics,
    PageList::Statistics,
    PageList::Slot(0),
    PageList::Parameters,
];

fn inputs() -> [(&'static str, Vec<f32>); 2] {
    let count = SHAPE[0] * SHAPE[1];
    let x = (0..count).map(|i| (i as f32 * 0.7).sin()).collect();
    [("x", x), ("target", (0..count).map(|i| (i as f32 * 0.3).cos()).collect())]
}

/// Pages of parameters that all differ.
pub(super) fn start(program: &Program) -> Vec<Vec<f32>> {
    let mut pages = program.pages.parameters.zeroed();
    for (index, place) in program.pages.parameters.places(&mut pages).into_iter().enumerate() {
        let count = place.shape.numel();
        let data: Vec<f32> = (0..count).map(|i| ((i + 17 * index) as f32 * 0.9).sin()).collect();
        place.write(&data);
    }
    pages
}

fn steps() -> impl Iterator<Item = Step> {
    (0..3).map(|step| Step { step, learning_rate: 0.1, clip_norm: f32::INFINITY, ..Step::default() })
}

#[test]
fn pages_are_the_same_on_cpu_and_gpu() {
    let adapters = block_on(gpu::adapters());
    if adapters.is_empty() {
        assert!(
            std::env::var_os("WGRAD_REQUIRE_GPU").is_none(),
            "WGRAD_REQUIRE_GPU is set, but there is no adapter"
        );
        eprintln!("SKIPPED: this machine has no adapter; pages were not compared");
    }
    let inputs = inputs();
    let inputs: Vec<_> = inputs.iter().map(|(name, data)| (*name, Data::Real(&data[..]))).collect();
    for adapter in adapters {
        let gpu = Arc::new(block_on(Gpu::open(&adapter)).unwrap());
        for Case { name, graph, .. } in cases() {
            let program = Arc::new(program(graph));
            let start = start(&program);
            let mut host = cpu::Session::<f32>::new(program.clone()).poisoned();
            let device = gpu::Session::new(gpu.clone(), program.clone(), &serially);
            let mut device = block_on(device).unwrap().poisoned();
            host.pages_mut(PageList::Parameters).clone_from_slice(&start);
            device.write_pages(PageList::Parameters, &start);
            for step in steps() {
                let want = host.run(0, &inputs, &step);
                device.submit(0, &inputs, &step).unwrap();
                let got = block_on(device.collect(0)).unwrap().unwrap().report.unwrap();
                let close = (got.grad_norm - want.grad_norm).abs() <= 1e-5 * want.grad_norm;
                assert!(close && !got.halted, "{name} on {}: {got:?}, {want:?}", adapter.name);
                for list in LISTS {
                    let got = block_on(device.read_pages(list)).unwrap();
                    let pairs = host.pages(list).iter().flatten().zip(got.iter().flatten());
                    assert_eq!(host.pages(list).len(), got.len());
                    for (want, got) in pairs {
                        assert!(
                            (got - want).abs() <= 1e-5,
                            "{name}, {list:?} on {}: {got}, {want}",
                            adapter.name
                        );
                    }
                }
            }
        }
    }
}
