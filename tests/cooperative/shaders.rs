use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use naga::back::{msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use wgrad::gpu::Reflection;
use wgrad::graph::{Capabilities, Cooperative, Dispatch, Slot, Tier};
use wgrad::plan;
use wgrad::selftest::product_cases;

fn devices() -> impl Iterator<Item = Cooperative> {
    [(16, 32), (8, 32), (4, 1)]
        .into_iter()
        .flat_map(|(size, subgroup)| [false, true].map(|staged| Cooperative { size, subgroup, staged }))
}

/// The dispatches of the tier, with what the device multiplies.
fn dispatches() -> Vec<(String, Cooperative, Dispatch<Slot>)> {
    let mut found = vec![];
    for device in devices() {
        let tier = if device.size == 4 { Tier::Portable } else { Tier::CooperativeMatrix };
        let capabilities = Capabilities { tier, cooperative: Some(device), ..Capabilities::PORTABLE };
        for case in product_cases(device.size as usize) {
            let dispatches = case.lower(&capabilities);
            let dispatches =
                dispatches.unwrap_or_else(|| panic!("{}: is not lowered for {device:?}", case.id));
            found.extend(dispatches.into_iter().map(|dispatch| (case.id.clone(), device, dispatch)));
        }
    }
    found
}

/// One dispatch for each pipeline, by a name for files.
fn pipelines() -> BTreeMap<String, (Cooperative, Dispatch<Slot>)> {
    let dispatches = dispatches().into_iter().map(|(_, device, dispatch)| {
        let variant = &dispatch.variant;
        let constants = variant.constants.iter().map(|(name, value)| format!("-{name}-{value:?}"));
        let snippets = variant.snippets.iter().map(|stem| format!("-{stem}"));
        let name: String =
            [dispatch.entry.to_string()].into_iter().chain(snippets).chain(constants).collect();
        (name.replace(['(', ')'], ""), (device, dispatch))
    });
    dispatches.collect()
}

#[test]
fn bindings_uniforms_and_limits_agree() {
    let mut failures = vec![];
    for (id, device, dispatch) in dispatches() {
        let text = plan::shader_text(dispatch.shader, &dispatch.variant);
        let tier = if dispatch.variant.snippets.contains(&"coop_emulated") {
            Tier::Portable
        } else {
            Tier::CooperativeMatrix
        };
        let reflection = Reflection::for_tier(&text, tier).unwrap_or_else(|error| panic!("{id}: {error}"));
        let entry = reflection.entry_point(dispatch.entry).expect("the entry point exists");
        let disagreements = entry.disagreements(&dispatch);
        failures.extend(disagreements.into_iter().map(|what| format!("{id} {}: {what}", dispatch.entry)));
        let limits = Capabilities::PORTABLE;
        let variables = reflection.module.global_variables.iter();
        let shared = variables.filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup);
        let types = &reflection.module.types;
        let bytes: u32 =
            shared.map(|(_, variable)| types[variable.ty].inner.size(reflection.module.to_ctx())).sum();
        let invocations: u32 = entry.workgroup_size.iter().product();
        if bytes > limits.max_workgroup_storage || invocations > limits.max_invocations {
            failures.push(format!("{id} {device:?}: {bytes} bytes, {invocations} invocations"));
        }
        for (name, value) in &dispatch.uniforms {
            let stride = ["left_stride", "right_stride"].contains(name);
            let wgrad::graph::Scalar::U32(value) = value else { continue };
            if stride && !value.is_multiple_of(device.size) {
                failures.push(format!("{id} {device:?}: {name} {value} is not a multiple of the tile"));
            }
        }
    }
    let entries: BTreeSet<&str> = dispatches().iter().map(|(_, _, dispatch)| dispatch.entry).collect();
    assert_eq!(entries.into_iter().collect::<Vec<_>>(), ["finish", "gather", "product"], "all are used");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// As wgpu writes it for Vulkan, with and without run-time checks.
fn spirv(reflection: &Reflection, entry: &str, checked: bool) -> Result<Vec<u32>, String> {
    let policy = if checked { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: BoundsCheckPolicies { index: policy, buffer: policy, ..Default::default() },
        force_loop_bounding: checked,
        fake_missing_bindings: true,
        ..spv::Options::default()
    };
    let pipeline =
        spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: entry.to_string() };
    spv::write_vec(&reflection.module, &reflection.info, &options, Some(&pipeline)).map_err(|e| e.to_string())
}

/// `WGRAD_SPIRV=folder` keeps the SPIR-V, for `scripts/validate_spirv.sh`.
#[test]
fn every_variant_becomes_spirv() {
    let folder = std::env::var_os("WGRAD_SPIRV").map(PathBuf::from);
    for (name, (_, dispatch)) in pipelines() {
        let text = plan::shader_text(dispatch.shader, &dispatch.variant);
        let reflection = Reflection::for_tier(&text, Tier::CooperativeMatrix).expect("validated above");
        for checked in [true, false] {
            let words = spirv(&reflection, dispatch.entry, checked)
                .unwrap_or_else(|error| panic!("{name} to SPIR-V: {error}"));
            if let Some(folder) = &folder {
                let checks = if checked { "checked" } else { "unchecked" };
                let words = without_strides_in_workgroup_memory(&words);
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                std::fs::write(folder.join(format!("{name}-{checks}.spv")), bytes)
                    .expect("the folder takes files");
            }
        }
    }
}

/// naga decorates arrays in workgroup memory with their stride in every shader, which no driver minds; spirv-val has
/// refused it since 2025, and would not look any further.
fn without_strides_in_workgroup_memory(words: &[u32]) -> Vec<u32> {
    const HEADER: usize = 5;
    const TYPE_POINTER: u32 = 32;
    const DECORATE: u32 = 71;
    const WORKGROUP: u32 = 4;
    const ARRAY_STRIDE: u32 = 6;
    let mut instructions = vec![];
    let mut rest = &words[HEADER..];
    while let Some(first) = rest.first() {
        let (instruction, after) = rest.split_at((first >> 16) as usize);
        instructions.push(instruction);
        rest = after;
    }
    let of = |op: u32| move |instruction: &&&[u32]| instruction[0] & 0xffff == op;
    let pointers = instructions.iter().filter(of(TYPE_POINTER)).filter(|pointer| pointer[2] == WORKGROUP);
    let arrays: Vec<u32> = pointers.map(|pointer| pointer[3]).collect();
    let dropped = |instruction: &&&[u32]| {
        of(DECORATE)(instruction) && instruction[2] == ARRAY_STRIDE && arrays.contains(&instruction[1])
    };
    let kept = instructions.iter().filter(|instruction| !dropped(instruction));
    words[..HEADER].iter().copied().chain(kept.flat_map(|instruction| instruction.iter().copied())).collect()
}

/// Apple's GPUs multiply 8 x 8.
#[test]
fn variants_of_8x8_become_metal() {
    for (name, (device, dispatch)) in pipelines() {
        if device.size == 16 {
            continue;
        }
        let text = plan::shader_text(dispatch.shader, &dispatch.variant);
        let reflection = Reflection::for_tier(&text, Tier::CooperativeMatrix).expect("validated above");
        let options =
            msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        msl::write_string(&reflection.module, &reflection.info, &options, &msl::PipelineOptions::default())
            .unwrap_or_else(|error| panic!("{name} to MSL: {error}"));
    }
}
