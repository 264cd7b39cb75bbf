use std::sync::Arc;

use serde::Serialize;

use super::{Cooperative, Tuning};

/// What kernels a device can run; each tier has all that those before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// What all of WebGPU has. The kernels that all others are compared with.
    Portable,
    /// Also operations among the invocations of a subgroup. Only the tiers above have kernels that use them.
    Subgroups,
    /// Also arithmetic on f16; storing f16 is in every tier. Only the tier above has kernels that use it.
    HalfPrecision,
    /// Also products of matrices of f16 by whole subgroups, accumulated in f32; see [`Cooperative`] for their use.
    CooperativeMatrix,
}

impl Tier {
    /// Its name, for people and files.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Portable => "portable",
            Tier::Subgroups => "subgroups",
            Tier::HalfPrecision => "half-precision",
            Tier::CooperativeMatrix => "cooperative-matrix",
        }
    }
}

/// Limits and tier of a device: all that lowering knows about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Largest range of a storage buffer that one binding reaches, in bytes.
    pub max_storage_binding: u64,
    /// Largest buffer, in bytes.
    pub max_buffer: u64,
    /// Storage buffers per compute stage.
    pub max_storage_buffers: u32,
    /// Workgroup memory, in bytes.
    pub max_workgroup_storage: u32,
    /// Invocations per workgroup.
    pub max_invocations: u32,
    /// Workgroups per dimension of a dispatch.
    pub max_workgroups: u32,
    /// The best kernels that it can run.
    pub tier: Tier,
    /// Fewest and most invocations of a subgroup.
    pub subgroup_size: [u32; 2],
    /// How products of f16 matrices are made cooperatively; none where that is impossible, not proved or not wanted.
    pub cooperative: Option<Cooperative>,
    /// Which configurations of kernels to take instead of the default ones.
    pub tuning: Option<Arc<Tuning>>,
}

impl Capabilities {
    /// WebGPU's default limits: what every device has.
    pub const PORTABLE: Capabilities = Capabilities {
        max_storage_binding: 128 << 20,
        max_buffer: 256 << 20,
        max_storage_buffers: 8,
        max_workgroup_storage: 16 << 10,
        max_invocations: 256,
        max_workgroups: 65_535,
        tier: Tier::Portable,
        subgroup_size: [4, 128],
        cooperative: None,
        tuning: None,
    };
}
