//! Weights that lie in parts: what a node makes of them has the bits of one that binds them whole.

use std::sync::Arc;

use pollster::block_on;
use wgrad::gpu::{self, Gpu, Session};
use wgrad::graph::{Capabilities, Graph, Init, Mode, ParameterGroup, Step, TensorDesc};
use wgrad::ops::{Layer, conv2d::Conv2d, gradients, linear::Linear, mse::Mse, mul::Mul};
use wgrad::optim::Sgd;
use wgrad::plan::{Data, Optimizer, PageList, Plan, Program};
use wgrad::selftest::serially;
use wgrad::train::recipe::Precision;

use super::PORTABLE;
use super::pages::start;
use super::replay::replay;

/// A layer whose weight lies in parts.
struct Wide {
    layer: fn() -> Box<dyn Layer>,
    input: &'static [usize],
    output: &'static [usize],
    /// Elements of one row of the weight.
    row: u64,
}

/// Sums in one slab and in several, whose ends parts do not respect, tiles that parts cut, and phases with fewer taps.
const CASES: [Wide; 7] = [
    Wide { layer: || Box::new(Linear::new(132)), input: &[5, 8256], output: &[5, 132], row: 8256 },
    Wide { layer: || Box::new(Linear::new(300)), input: &[7, 68], output: &[7, 300], row: 68 },
    Wide { layer: || Box::new(Linear::new(131)), input: &[150, 36], output: &[150, 131], row: 36 },
    Wide {
        layer: || Box::new(Conv2d::new(132, 3).padding(1)),
        input: &[2, 8, 6, 5],
        output: &[2, 132, 6, 5],
        row: 72,
    },
    Wide {
        layer: || Box::new(Conv2d::new(140, 3).padding(1).stride(2).bias(false)),
        input: &[3, 12, 7, 8],
        output: &[3, 140, 4, 4],
        row: 108,
    },
    Wide {
        layer: || Box::new(Conv2d::new(131, [2, 3]).stride([3, 1]).dilation([1, 2])),
        input: &[2, 7, 9, 8],
        output: &[2, 131, 3, 4],
        row: 42,
    },
    Wide { layer: || Box::new(Conv2d::new(200, 1)), input: &[4, 20, 9, 7], output: &[4, 200, 9, 7], row: 20 },
];

/// `mse(layer(x p))`, with the gradients of `p` and of the layer's parameters.
fn graph(wide: &Wide, precision: Precision) -> Graph {
    let mut graph = precision.graph(Mode::Train);
    let x = graph.input("x", TensorDesc::f32(wide.input));
    let mut one = vec![1; wide.input.len()];
    one[1] = wide.input[1];
    let p = graph.parameter("p", one, Init::Default).unwrap();
    let product = graph.apply1(Mul::default(), &[x, p]).unwrap();
    let y = graph.scope("wide", |graph| (wide.layer)().build(graph, product)).unwrap();
    let y = graph.as_f32(y).unwrap();
    let target = graph.input("target", TensorDesc::f32(wide.output));
    let loss = graph.apply1(Mse::default(), &[y, target]).unwrap();
    graph.output("loss", loss);
    let parameters = graph.parameters();
    let found = gradients(&mut graph, loss, &parameters).unwrap();
    for (parameter, gradient) in parameters.into_iter().zip(found) {
        graph.set_gradient(parameter, gradient.unwrap());
    }
    graph
}

fn program(graph: Graph, max_page_bytes: u64) -> Program {
    let groups = vec![ParameterGroup { rate: 1.0, weight_decay: 0.1 }; graph.parameters().len()];
    let update = Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: false });
    Program::new(vec![graph], Some(Optimizer::new(update, groups)), max_page_bytes).unwrap()
}

/// The limits under which a weight lies in a few parts: of 64 rows each, or of a multiple of 4.
fn limits(wide: &Wide) -> [u64; 2] {
    [64, 36].map(|rows| (rows * wide.row * 4).next_multiple_of(512))
}

#[test]
fn plans_of_parts_hold() {
    for wide in &CASES {
        for precision in Precision::ALL {
            for limit in limits(wide) {
                let program = program(graph(wide, precision), limit);
                let (_, _, spans) = &program.pages.parameters.tensors()[1];
                assert!(spans.len() > 2, "{:?}: {spans:?}", wide.input);
                let plan = Plan::lower(&program, &program.graphs[0], PORTABLE).unwrap();
                replay(&program, &program.graphs[0], &plan, PORTABLE).unwrap();
            }
        }
    }
}

/// Gradients, parameters and momentum after two steps, in PyTorch's order.
fn trained(gpu: &Arc<Gpu>, program: Program, wide: &Wide) -> Vec<Vec<f32>> {
    let program = Arc::new(program);
    let session = Session::new(gpu.clone(), program.clone(), &serially);
    let mut session = block_on(session).unwrap().poisoned();
    let set = &program.pages.parameters;
    session.write_pages(PageList::Parameters, &start(&program));
    let x: Vec<f32> = (0..wide.input.iter().product()).map(|i: usize| (i as f32 * 0.7).sin()).collect();
    let target: Vec<f32> = (0..wide.output.iter().product()).map(|i: usize| (i as f32 * 0.3).cos()).collect();
    for step in 0..2 {
        let inputs = [("x", Data::Real(&x[..])), ("target", Data::Real(&target[..]))];
        session.submit(0, &inputs, &Step { step, learning_rate: 1e-3, ..Step::default() }).unwrap();
        assert!(!block_on(session.collect(0)).unwrap().unwrap().report.unwrap().halted);
    }
    let lists = [PageList::Gradients, PageList::Parameters, PageList::Slot(0)];
    let mut tensors = vec![];
    for list in lists {
        let pages = block_on(session.read_pages(list)).unwrap();
        tensors.extend(set.load(&pages).map(|(_, tensor)| tensor.data));
    }
    tensors
}

#[test]
fn parts_have_the_bits_of_the_whole() {
    for adapter in block_on(gpu::adapters()) {
        let gpu = Arc::new(block_on(Gpu::open(&adapter)).unwrap());
        for wide in &CASES {
            for precision in Precision::ALL {
                let whole = trained(&gpu, program(graph(wide, precision), 128 << 20), wide);
                assert!(whole.iter().flatten().any(|x| *x != 0.0));
                for limit in limits(wide) {
                    let parts = trained(&gpu, program(graph(wide, precision), limit), wide);
                    for (index, (whole, parts)) in whole.iter().zip(&parts).enumerate() {
                        let pairs = whole.iter().zip(parts);
                        let differ = pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count();
                        let at = format!("{:?}, {limit} bytes, {precision:?}, tensor {index}", wide.input);
                        assert_eq!(differ, 0, "{at} on {}", adapter.name);
                    }
                }
            }
        }
    }
}

#[test]
fn what_takes_a_weight_whole_is_named() {
    let mut graph = Graph::new(Mode::Train);
    let x = graph.input("x", TensorDesc::f32([300, 64]));
    let p = graph.parameter("p", [300, 64], Init::Default).unwrap();
    let product = graph.apply1(Mul::default(), &[x, p]).unwrap();
    let loss = graph.scope("loss", |graph| graph.apply1(Mse::default(), &[product, x])).unwrap();
    graph.output("loss", loss);
    let program = Program::new(vec![graph], None, 64 << 8).unwrap();
    let error = Plan::lower(&program, &program.graphs[0], PORTABLE).unwrap_err().to_string();
    assert!(error.contains("mul \"mul\"") && error.contains("300 rows in 5 parts"), "{error}");
    let mut graph = Graph::new(Mode::Train);
    graph.parameter("bias", [3000], Init::Default).unwrap();
    let error = Program::new(vec![graph], None, 1024).unwrap_err().to_string();
    assert!(error.contains("\"bias\" [3000]"), "{error}");
    let small = Capabilities { max_storage_binding: 1024, ..Capabilities::PORTABLE };
    assert!(Plan::lower(&program, &program.graphs[0], &small).is_err());
}
