//! Writes the shaders of the GEMM family as the driver gets them, for offline compilers: one file per variant that the
//! built-in networks or the operators' samples use, in every tile that a dispatch could choose.
//!
//! `cargo run --release --example dump_shaders -- DIR`, then for example
//! `shaderstat --family navi21,vega10 DIR/*.wgsl`.

use std::collections::BTreeMap;
use std::sync::Arc;

use wgrad::graph::{Capabilities, Tuning};
use wgrad::models::{ModelSpec, built_in};
use wgrad::optim::Sgd;
use wgrad::plan::{self, Command, Plan, Program};
use wgrad::selftest::Case;
use wgrad::{ops, train};

type Any = Box<dyn std::error::Error>;

/// Files whose variants are products of matrices.
const FAMILY: [&str; 3] = ["conv2d", "linear", "matmul"];

fn main() -> Result<(), Any> {
    let directory = std::env::args().nth(1).ok_or("usage: dump_shaders DIR")?;
    std::fs::create_dir_all(&directory)?;
    let desktop = Capabilities { max_workgroup_storage: 32 << 10, ..Capabilities::PORTABLE };
    let mut texts = BTreeMap::new();
    for program in programs()? {
        let plan = Plan::lower(&program, &program.graphs[0], &desktop)?;
        let most = plan.choices.iter().map(|(_, choice)| choice.candidates.len()).max().unwrap_or(1);
        for number in 0..most {
            let choices = plan.choices.iter().map(|(_, choice)| {
                let (name, _) = &choice.candidates[number % choice.candidates.len()];
                (choice.key.clone(), name.clone())
            });
            let tuning = Some(Arc::new(Tuning { choices: choices.collect(), ..Tuning::default() }));
            let tuned = Capabilities { tuning, ..desktop.clone() };
            collect(&Plan::lower(&program, &program.graphs[0], &tuned)?, &mut texts);
        }
    }
    for (name, text) in &texts {
        std::fs::write(format!("{directory}/{name}.wgsl"), text)?;
    }
    println!("{} files in {directory}", texts.len());
    Ok(())
}

/// Training of the built-in networks, and the samples.
fn programs() -> Result<Vec<Program>, Any> {
    let mut programs = vec![];
    for name in built_in() {
        let model = ModelSpec::load(name)?.unbound()?;
        let task = train::program::Task {
            image: model.input(),
            classes: 10,
            batch_size: 8,
            label_smoothing: 0.0,
            precision: Default::default(),
        };
        let update = Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: false });
        programs.push(train::program::training(&model, &task, update, 0.0, &train::Device::Cpu)?);
    }
    for operator in ops::registry().iter().filter(|operator| FAMILY.contains(&operator.name)) {
        for sample in (operator.samples)() {
            let case = Case::new(&sample)?;
            programs.push(Arc::into_inner(case.program).ok_or("the program is shared")?);
        }
    }
    Ok(programs)
}

/// The texts of a plan's dispatches of the family, by a name that says what tells them apart.
fn collect(plan: &Plan, texts: &mut BTreeMap<String, String>) {
    for command in &plan.commands {
        let Command::Dispatch { dispatch, .. } = command else { continue };
        if !FAMILY.contains(&dispatch.shader) {
            continue;
        }
        let constants = dispatch.variant.constants.iter().map(|(name, value)| {
            let value = format!("{value:?}");
            let digits: String = value.chars().filter(char::is_ascii_digit).skip(2).collect();
            format!("{}{}", short(name), if value.contains("true") { "1" } else { &digits })
        });
        let name: Vec<String> =
            constants.chain(dispatch.variant.snippets.iter().map(|s| s.to_string())).collect();
        let text = plan::shader_text(dispatch.shader, &dispatch.variant);
        texts.insert(format!("{}-{}", dispatch.shader, name.join("-")), text);
    }
}

/// Initials: `TILE_M` is `tm`.
fn short(name: &str) -> String {
    name.split('_').filter_map(|word| word.chars().next()).collect::<String>().to_lowercase()
}
