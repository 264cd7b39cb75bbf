//! Operators beyond their samples, on the CPU and on every adapter: activations at the extremes, what dropouts draw, ties
//! and NaN in pools, losses of targets that do not count, errors.

mod activations;
mod concat;
mod dropout;
mod losses;
mod pools;

use std::collections::HashMap;
use std::sync::Arc;

use wgrad::graph::{Graph, Step};
use wgrad::plan::{Data, Program};
use wgrad::{cpu, gpu};

type Outputs = HashMap<String, Vec<f32>>;

/// The outputs of a graph on the CPU and on every adapter, in physical order, each with the device's name.
fn run_everywhere(graph: Arc<Graph>, inputs: &[(&str, &[f32])], step: &Step) -> Vec<(String, Outputs)> {
    let data: Vec<(&str, Data<'_, f32>)> =
        inputs.iter().map(|(name, values)| (*name, Data::Real(values))).collect();
    run_with(graph, &data, step)
}

/// [`run_everywhere`] with inputs of both types.
fn run_with(graph: Arc<Graph>, data: &[(&str, Data<'_, f32>)], step: &Step) -> Vec<(String, Outputs)> {
    let program = Program::new(vec![Graph::clone(&graph)], None, 128 << 20).expect("a small program");
    let program = Arc::new(program);
    let mut session = cpu::Session::<f32>::new(program.clone()).poisoned();
    session.run(0, data, step);
    let output = |name: &String| (name.clone(), session.output(name).expect("an output").to_vec());
    let mut results = vec![("the CPU".to_string(), graph.outputs().keys().map(output).collect())];
    for device in devices() {
        let run = async {
            let mut session = gpu::Session::new(device.clone(), program.clone(), &serially).await?.poisoned();
            session.submit(0, data, step)?;
            session.collect(0).await
        };
        let finished = pollster::block_on(run).expect("the device works").expect("one step was submitted");
        results.push((device.name.clone(), finished.outputs));
    }
    results
}

fn serially(count: usize, work: &(dyn Fn(usize) + Sync)) {
    (0..count).for_each(work);
}

/// Every adapter of this machine, opened once.
fn devices() -> &'static [Arc<gpu::Gpu>] {
    static DEVICES: std::sync::OnceLock<Vec<Arc<gpu::Gpu>>> = std::sync::OnceLock::new();
    DEVICES.get_or_init(|| {
        let adapters = pollster::block_on(gpu::adapters());
        let required = std::env::var_os("WGRAD_REQUIRE_GPU").is_some();
        assert!(!(required && adapters.is_empty()), "WGRAD_REQUIRE_GPU is set, but there is no adapter");
        if adapters.is_empty() {
            eprintln!("SKIPPED on GPUs: this machine has no adapter");
        }
        let open =
            |adapter| Arc::new(pollster::block_on(gpu::Gpu::open(adapter)).expect("the adapter opens"));
        adapters.iter().map(open).collect()
    })
}
