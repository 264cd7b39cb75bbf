//! What an adapter can do beyond WebGPU, as the tiers of [`Capabilities`].

use wgpu::Features;

use crate::graph::{Capabilities, Tier};

/// Features that are used wherever they are, whatever the tier.
const ALWAYS: Features = Features::TIMESTAMP_QUERY
    .union(Features::TIMESTAMP_QUERY_INSIDE_ENCODERS)
    .union(Features::PIPELINE_CACHE);

/// What each tier needs beyond the one before it.
const STEPS: [(Tier, Features); 3] = [
    (Tier::Subgroups, Features::SUBGROUP),
    (Tier::HalfPrecision, Features::SHADER_F16),
    (Tier::CooperativeMatrix, Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
];

/// Limits of an adapter and its tier, which is at most `highest`.
pub(super) fn capabilities(adapter: &wgpu::Adapter, highest: Tier) -> Capabilities {
    let (limits, info) = (adapter.limits(), adapter.get_info());
    Capabilities {
        max_storage_binding: limits.max_storage_buffer_binding_size & !255,
        max_buffer: limits.max_buffer_size & !255,
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        max_workgroup_storage: limits.max_compute_workgroup_storage_size,
        max_invocations: limits.max_compute_invocations_per_workgroup,
        max_workgroups: limits.max_compute_workgroups_per_dimension,
        tier: tier(adapter, highest),
        tuning: None,
        subgroup_size: [info.subgroup_min_size, info.subgroup_max_size],
    }
}

/// The features to ask for in a tier that the adapter has.
pub(super) fn features(adapter: &wgpu::Adapter, tier: Tier) -> Features {
    let steps = STEPS.iter().filter(|(step, _)| *step <= tier).map(|(_, features)| *features);
    steps.fold(ALWAYS & adapter.features(), Features::union)
}

fn tier(adapter: &wgpu::Adapter, highest: Tier) -> Tier {
    let reached = STEPS.iter().take_while(|(step, features)| {
        let usable = *step != Tier::CooperativeMatrix || multiplies_halves(adapter);
        *step <= highest && adapter.features().contains(*features) && usable
    });
    reached.last().map_or(Tier::Portable, |(step, _)| *step)
}

/// Whether 16 x 16 matrices of f16 are multiplied into f32.
fn multiplies_halves(adapter: &wgpu::Adapter) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    let found = adapter.cooperative_matrix_properties();
    found.iter().any(|shape| {
        [shape.m_size, shape.n_size, shape.k_size] == [16; 3] && shape.ab_type == F16 && shape.cr_type == F32
    })
}
