//! Every shader without a GPU: naga accepts it, it translates to SPIR-V, MSL and HLSL, it keeps WebGPU's default
//! limits, and what the host binds agrees with what the shader declares.

use std::collections::BTreeSet;
use std::sync::Arc;

use naga::back::{hlsl, msl, spv};
use wgrad::gpu::Reflection;
use wgrad::graph::{Capabilities, Dispatch, Variant};
use wgrad::optim::{Adagrad, Adam, AdjustLr, Lamb, Lion, Muon, RmsProp, Sgd};
use wgrad::plan::{self, Command, Plan, Program};
use wgrad::selftest::{self, Case};
use wgrad::{graph, ops};

/// All dispatches of all samples and of a training step with each optimizer, in one piece and in micro-batches.
fn dispatches() -> Vec<(String, Dispatch<plan::Place>)> {
    let mut found = vec![];
    // Devices with narrow subgroups prefer other configurations.
    let narrow = Capabilities { subgroup_size: [4, 8], ..Capabilities::PORTABLE };
    let mut collect = |program: &Program| {
        for capabilities in [&Capabilities::PORTABLE, &narrow] {
            let plan = Plan::lower(program, &program.graphs[0], capabilities).expect("samples lower");
            found.extend(plan.commands.into_iter().filter_map(|command| match command {
                Command::Dispatch { label, dispatch } => Some((label, dispatch)),
                Command::Copy { .. } => None,
            }));
        }
    };
    for sample in ops::registry().iter().flat_map(selftest::samples) {
        collect(&Case::new(&sample).expect("samples build").program);
    }
    let updates: [Arc<dyn graph::Update>; 7] = [
        Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: true }),
        Arc::new(Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled: true }),
        Arc::new(RmsProp { alpha: 0.99, eps: 1e-8, momentum: 0.9, centered: true }),
        Arc::new(Adagrad { lr_decay: 0.0, initial_accumulator_value: 0.0, eps: 1e-10 }),
        Arc::new(Lion { betas: [0.9, 0.99] }),
        Arc::new(Lamb { betas: [0.9, 0.999], eps: 1e-6 }),
        Arc::new(Muon {
            momentum: 0.95,
            nesterov: true,
            ns_steps: 5,
            adjust_lr: AdjustLr::Original,
            first_and_last: true,
            betas: [0.9, 0.999],
            eps: 1e-8,
        }),
    ];
    for update in updates {
        collect(&training_step(update.clone()));
        collect(&training_step(update).in_micro_batches(2));
    }
    found
}

fn training_step(update: Arc<dyn graph::Update>) -> Program {
    let mut graph = graph::Graph::new(graph::Mode::Train);
    let weight = graph.parameter("weight", [3, 5], graph::Init::Constant(0.5)).expect("a new name");
    let running = graph.statistic("running", [5], 0.0).expect("a new name");
    let batch = graph.input("batch", graph::TensorDesc::f32([5]));
    let loss = graph.input("loss", graph::TensorDesc::f32([1]));
    let grad = graph.input("grad", graph::TensorDesc::f32([3, 5]));
    graph.set_gradient(weight, grad);
    graph.update_statistic(running, batch, 0.1);
    graph.output("loss", loss);
    let groups = vec![graph::ParameterGroup { rate: 1.0, weight_decay: 0.0 }];
    let optimizer = plan::Optimizer { averages: true, ..plan::Optimizer::new(update, groups) };
    Program::new(vec![graph], Some(optimizer), 128 << 20).expect("a small program")
}

#[test]
fn bindings_uniforms_and_limits_agree() {
    let mut failures = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for (label, dispatch) in dispatches() {
        let text = plan::shader_text(dispatch.shader, &dispatch.variant);
        let reflection =
            Reflection::new(&text).unwrap_or_else(|error| panic!("{}: {error}", dispatch.shader));
        let Some(entry) = reflection.entry_point(dispatch.entry) else {
            failures.insert(format!("{} has no entry point {}", dispatch.shader, dispatch.entry));
            continue;
        };
        let name = format!("{}.{}", dispatch.shader, dispatch.entry);
        failures.extend(
            entry.disagreements(&dispatch).into_iter().map(|what| format!("{name} ({label}): {what}")),
        );
        let storage = entry.bindings.iter().filter(|binding| binding.storage.is_some()).count();
        if storage > Capabilities::PORTABLE.max_storage_buffers as usize {
            failures.insert(format!("{name} binds {storage} storage buffers"));
        }
        if entry.workgroup_size.iter().product::<u32>() > Capabilities::PORTABLE.max_invocations {
            failures.insert(format!("{name} has {:?} invocations", entry.workgroup_size));
        }
        if dispatch
            .workgroups
            .iter()
            .any(|&count| count == 0 || count > Capabilities::PORTABLE.max_workgroups)
        {
            failures.insert(format!("{name} ({label}) has {:?} workgroups", dispatch.workgroups));
        }
        let shared = workgroup_bytes(&reflection.module);
        if shared > Capabilities::PORTABLE.max_workgroup_storage {
            failures.insert(format!("{name} needs {shared} bytes of workgroup memory"));
        }
        seen.insert((dispatch.shader, dispatch.entry));
    }
    // Families have tests of their own: tests/cooperative.
    let families = ops::FAMILIES.iter().map(|(stem, _)| *stem).collect::<Vec<_>>();
    for (stem, _) in plan::shaders().filter(|(stem, _)| !families.contains(stem)) {
        let variant = variant_of(stem);
        let module = Reflection::new(&plan::shader_text(stem, &variant)).expect("validated above").module;
        for entry in module
            .entry_points
            .iter()
            .filter(|entry| !seen.iter().any(|(s, e)| *s == stem && *e == entry.name))
        {
            failures.insert(format!("{stem}.{} is used by no sample", entry.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.into_iter().collect::<Vec<_>>().join("\n"));
}

fn workgroup_bytes(module: &naga::Module) -> u32 {
    let variables = module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup);
    variables.map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx())).sum()
}

fn variant_of(stem: &str) -> Variant {
    variants().into_iter().find(|(name, _)| *name == stem).map(|(_, variant)| variant).unwrap_or_default()
}

fn variants() -> Vec<(&'static str, Variant)> {
    let mut variants: Vec<(&'static str, Variant)> = vec![];
    for (_, dispatch) in dispatches() {
        let variant = (dispatch.shader, dispatch.variant);
        if !variants.contains(&variant) {
            variants.push(variant);
        }
    }
    variants
}

#[test]
fn shaders_translate_to_spirv_msl_and_hlsl() {
    for (stem, variant) in variants() {
        let reflection = Reflection::new(&plan::shader_text(stem, &variant)).expect("valid");
        let (module, info) = (&reflection.module, &reflection.info);
        spv::write_vec(module, info, &spv::Options::default(), None)
            .unwrap_or_else(|e| panic!("{stem} to SPIR-V: {e}"));
        let options =
            msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        msl::write_string(module, info, &options, &msl::PipelineOptions::default())
            .unwrap_or_else(|e| panic!("{stem} to MSL: {e}"));
        let options = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
            .write(module, info, None)
            .unwrap_or_else(|e| panic!("{stem} to HLSL: {e}"));
    }
}
