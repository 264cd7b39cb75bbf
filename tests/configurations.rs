//! Kernels that come in several configurations: all exact ones give the same bits, so that tuning never changes a result.

use std::collections::BTreeMap;
use std::sync::Arc;

use pollster::block_on;
use wgrad::gpu::{self, Gpu};
use wgrad::graph::{Choice, Tuning};
use wgrad::ops;
use wgrad::plan::Plan;
use wgrad::selftest::{Case, Outputs, run_on_gpu};

/// Samples on which each configuration of a family is compared.
const ENOUGH: usize = 3;

#[test]
fn exact_configurations_give_the_same_bits() {
    let adapters = block_on(gpu::adapters());
    if adapters.is_empty() {
        assert!(
            std::env::var_os("WGRAD_REQUIRE_GPU").is_none(),
            "WGRAD_REQUIRE_GPU is set, but there is no adapter"
        );
        eprintln!("SKIPPED: this machine has no adapter; configurations were not compared");
        return;
    }
    let only = std::env::var("WGRAD_SAMPLE").unwrap_or_default();
    for adapter in &adapters {
        let mut gpu = Arc::new(block_on(Gpu::open(adapter)).expect("the adapter opens"));
        let (mut compared, mut times) = (0, BTreeMap::new());
        let samples = ops::registry().iter().flat_map(|operator| (operator.samples)());
        for sample in samples.filter(|sample| sample.id.starts_with(&only)) {
            let case = Case::new(&sample).expect("samples build");
            let program = &case.program;
            let plan = Plan::lower(program, &program.graphs[0], &gpu.capabilities).expect("samples lower");
            let choices: Vec<Choice> = plan.choices.into_iter().map(|(_, choice)| choice).collect();
            let most = choices.iter().map(|choice| exact(choice).len()).max().unwrap_or(0);
            if most < 2 {
                continue;
            }
            let first = run(&mut gpu, &case, &choices, 0);
            for number in 1..most {
                // Each configuration of a family on a few samples: compiling all pairs takes minutes.
                let pairs: Vec<_> = choices.iter().map(|choice| named(choice, number)).collect();
                if pairs.iter().all(|pair| times.get(pair).is_some_and(|times| *times >= ENOUGH)) {
                    continue;
                }
                pairs.into_iter().for_each(|pair| *times.entry(pair).or_insert(0) += 1);
                let other = run(&mut gpu, &case, &choices, number);
                let differing: Vec<_> =
                    first.keys().filter(|name| !same_bits(&first[*name], &other[*name])).collect();
                assert!(
                    differing.is_empty(),
                    "{}: {sample:?}: {differing:?} differ between configurations 0 and {number} of {choices:?}",
                    adapter.name
                );
                compared += 1;
            }
        }
        for ((family, configuration), times) in &times {
            eprintln!("{}: {family} in {configuration}: {times} samples", adapter.name);
        }
        assert!(compared > 0 || !only.is_empty(), "no sample has a choice");
    }
}

/// The family of a choice and its configuration `number`.
fn named(choice: &Choice, number: usize) -> (String, String) {
    let names = exact(choice);
    let family = choice.key.split(' ').next().unwrap_or_default();
    (family.to_string(), names[number % names.len()].clone())
}

fn exact(choice: &Choice) -> Vec<String> {
    choice.candidates.iter().filter(|(_, exact)| *exact).map(|(name, _)| name.clone()).collect()
}

/// A case's outputs when each choice takes its configuration `number`, those with fewer beginning again.
fn run(gpu: &mut Arc<Gpu>, case: &Case, choices: &[Choice], number: usize) -> Outputs {
    let chosen = choices.iter().map(|choice| {
        let (_, name) = named(choice, number);
        (choice.key.clone(), name)
    });
    let tuning = Tuning { choices: chosen.collect(), ..Tuning::default() };
    let device = Arc::get_mut(gpu).expect("no session is left");
    device.capabilities.tuning = Some(Arc::new(tuning));
    let outputs = block_on(run_on_gpu(gpu, case)).expect("the sample runs");
    Arc::get_mut(gpu).expect("the session is gone").capabilities.tuning = None;
    outputs
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}
