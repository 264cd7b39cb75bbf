/// Limits and tiers of a device, as numbers: all that lowering knows about it.
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
    };
}
