//! Writes shaders as the driver gets them, for offline compilers: one file per variant that the built-in networks or the
//! operators' samples use, in every tile that a dispatch could choose.
//!
//! `cargo run --release --example dump_shaders -- DIR [SHADER]...`, all shaders if none is named, then for example
//! `shaderstat --family navi21,vega10 DIR/conv2d-*.wgsl`.

use std::collections::BTreeMap;
use std::sync::Arc;

use wgrad::graph::{Capabilities, Mode, Tuning, Variant};
use wgrad::models::{self, ModelSpec};
use wgrad::optim::{self, Sgd};
use wgrad::plan::{self, Command, Plan, Program};
use wgrad::selftest::Case;
use wgrad::train::recipe::Precision::{F16, F32};
use wgrad::{ops, train};

type Any = Box<dyn std::error::Error>;

fn main() -> Result<(), Any> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: dump_shaders DIR [SHADER]...")?;
    let shaders: Vec<String> = arguments.collect();
    let mut texts = texts(models::built_in())?;
    texts.retain(|(shader, _), _| shaders.is_empty() || shaders.iter().any(|wanted| wanted == shader));
    std::fs::create_dir_all(&directory)?;
    for ((shader, variant), text) in &texts {
        std::fs::write(format!("{directory}/{shader}-{variant}.wgsl"), text)?;
    }
    println!("{} files in {directory}", texts.len());
    Ok(())
}

/// Texts by shader and by a name of the variant.
type Texts = BTreeMap<(&'static str, String), String>;

/// All shaders of these networks' training and of the operators' samples.
pub fn texts(networks: impl Iterator<Item = &'static str>) -> Result<Texts, Any> {
    let large = 2 << 30;
    let desktop = Capabilities {
        max_workgroup_storage: 32 << 10,
        max_storage_binding: large,
        max_buffer: large,
        ..Capabilities::PORTABLE
    };
    let ends_of_steps = optim::shaders()
        .map(|(shader, _)| ((shader, String::new()), plan::shader_text(shader, &Variant::default())));
    let mut texts: Texts = ends_of_steps.collect();
    for program in programs(networks)? {
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
    Ok(texts)
}

/// Training of networks in both precisions, and the samples.
fn programs(networks: impl Iterator<Item = &'static str>) -> Result<Vec<Program>, Any> {
    let mut programs = vec![];
    for (name, precision) in networks.flat_map(|name| [F32, F16].map(|precision| (name, precision))) {
        let model = ModelSpec::load(name)?.unbound()?;
        let (graph, output) = model.graph(Mode::Eval, 1)?;
        let (image, classes) = (model.input(), *graph.shape(output).last().ok_or("no output")?);
        let task = train::program::Task { image, classes, batch_size: 8, label_smoothing: 0.0, precision };
        let update = Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: false });
        programs.push(train::program::training(&model, &task, update, 0.0, &train::Device::Cpu)?);
    }
    for operator in ops::registry().iter() {
        for sample in (operator.samples)() {
            let case = Case::new(&sample)?;
            programs.push(Arc::into_inner(case.program).ok_or("the program is shared")?);
        }
    }
    Ok(programs)
}

/// The texts of a plan's dispatches, by a name that says what tells them apart.
fn collect(plan: &Plan, texts: &mut Texts) {
    for command in &plan.commands {
        let Command::Dispatch { dispatch, .. } = command else { continue };
        let constants = dispatch.variant.constants.iter().map(|(name, value)| {
            let value = format!("{value:?}");
            let digits: String = value.chars().filter(char::is_ascii_digit).skip(2).collect();
            format!("{}{}", short(name), if value.contains("true") { "1" } else { &digits })
        });
        let name: Vec<String> =
            constants.chain(dispatch.variant.snippets.iter().map(|s| s.to_string())).collect();
        let text = plan::shader_text(dispatch.shader, &dispatch.variant);
        texts.insert((dispatch.shader, name.join("-")), text);
    }
}

/// Initials: `TILE_M` is `tm`.
fn short(name: &str) -> String {
    name.split('_').filter_map(|word| word.chars().next()).collect::<String>().to_lowercase()
}
