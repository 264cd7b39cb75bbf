//! What an adapter can do beyond WebGPU, as the tiers of [`Capabilities`].

use wgpu::Features;

use crate::graph::{Capabilities, Cooperative, Tier};

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
        cooperative: None,
    }
}

/// The features to ask for in a tier that the adapter has.
pub(super) fn features(adapter: &wgpu::Adapter, tier: Tier) -> Features {
    let steps = STEPS.iter().filter(|(step, _)| *step <= tier).map(|(_, features)| *features);
    steps.fold(ALWAYS & adapter.features(), Features::union)
}

fn tier(adapter: &wgpu::Adapter, highest: Tier) -> Tier {
    let reached = STEPS.iter().take_while(|(step, features)| {
        let usable = *step != Tier::CooperativeMatrix || !cooperative_ways(adapter).is_empty();
        *step <= highest && adapter.features().contains(*features) && usable
    });
    reached.last().map_or(Tier::Portable, |(step, _)| *step)
}

/// How subgroups of the adapter say to multiply matrices of f16 into f32, the fastest way first.
pub(super) fn cooperative_ways(adapter: &wgpu::Adapter) -> Vec<Cooperative> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let found = adapter.cooperative_matrix_properties();
    let multiplies = |size: &u32| {
        let same = |shape: &wgpu::CooperativeMatrixProperties| {
            [shape.m_size, shape.n_size, shape.k_size] == [*size; 3]
        };
        found.iter().any(|shape| same(shape) && shape.ab_type == F16 && shape.cr_type == F32)
    };
    let Some(size) = [16, 8].into_iter().find(multiplies) else { return vec![] };
    let info = adapter.get_info();
    // Where the size of subgroups varies (AMD) the driver chooses one, and only a proof finds out which.
    let mut subgroups = vec![info.subgroup_min_size, info.subgroup_max_size];
    subgroups.retain(|subgroup| (4..=64).contains(subgroup));
    subgroups.dedup();
    let ways = [true, false]
        .into_iter()
        .flat_map(|staged| subgroups.iter().map(move |subgroup| (staged, *subgroup)));
    ways.map(|(staged, subgroup)| Cooperative { size, subgroup, staged }).collect()
}
