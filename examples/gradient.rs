//! The gradient of an arbitrary graph: no network, no trainer. The operators build an expression, `gradients` adds its
//! derivatives to the graph, and a session computes both.
//!
//! Here f(x, w) = mean((tanh(x w) - y)^2), with x [4, 3], w [3, 2], y [4, 2]; the gradient with respect to w is compared with
//! differences of f.
//!
//! `cargo run --release --example gradient`

use std::sync::Arc;

use wgrad::cpu::Session;
use wgrad::graph::{Graph, Mode, Step, TensorDesc};
use wgrad::ops::{self, Layer, matmul::Matmul, mse::Mse, tanh::Tanh};
use wgrad::plan::{Data, Program};

/// The expression and, if wanted, its gradient with respect to `w`.
fn expression() -> wgrad::Result<Graph> {
    let mut graph = Graph::new(Mode::Train);
    let x = graph.input("x", TensorDesc::f32([4, 3]));
    let w = graph.input("w", TensorDesc::f32([3, 2]));
    let y = graph.input("y", TensorDesc::f32([4, 2]));
    let product = graph.apply1(Matmul::default(), &[x, w])?;
    let bent = Tanh {}.build(&mut graph, product)?;
    let loss = graph.apply1(Mse::default(), &[bent, y])?;
    let grads = ops::gradients(&mut graph, loss, &[w])?;
    graph.output("loss", loss);
    if let Some(grad) = grads[0] {
        graph.output("grad_w", grad);
    }
    Ok(graph)
}

/// Prints the gradient beside central differences; fails where they differ.
pub fn main() -> wgrad::Result<()> {
    // A graph may be run in f64 on the CPU; `wgrad::train::Session` runs it in f32 on any device.
    let program = Program::new(vec![expression()?], None, 1 << 20)?;
    let mut session = Session::<f64>::new(Arc::new(program));
    let x: Vec<f64> = (0..12).map(|i| f64::from(i) * 0.1 - 0.5).collect();
    let y = [0.25; 8];
    let w: Vec<f64> = (0..6).map(|i| 0.5 - f64::from(i) * 0.2).collect();
    let mut run = |w: &[f64]| {
        let inputs = [("x", Data::Real(&x[..])), ("w", Data::Real(w)), ("y", Data::Real(&y[..]))];
        session.run(0, &inputs, &Step::default());
        let output = |name| session.output(name).unwrap_or_default().to_vec();
        (output("loss")[0], output("grad_w"))
    };
    let (loss, gradient) = run(&w);
    println!("loss {loss:.6}");
    for i in 0..w.len() {
        let shifted = |by: f64| {
            let mut w = w.clone();
            w[i] += by;
            w
        };
        let difference = (run(&shifted(1e-5)).0 - run(&shifted(-1e-5)).0) / 2e-5;
        println!("w[{i}]  gradient {:+.8}  difference {difference:+.8}", gradient[i]);
        if (difference - gradient[i]).abs() > 1e-8 {
            return Err(wgrad::Error::Model(format!("w[{i}]: the gradient is not the slope")));
        }
    }
    Ok(())
}
