use serde::{Deserialize, Serialize};

/// How subgroups multiply matrices of f16 together, accumulating in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cooperative {
    /// Rows, columns and depth of what a subgroup multiplies at once: 16, or 8. 4 is the emulation by which tests run
    /// the same kernels on any device.
    pub size: u32,
    /// Invocations of a subgroup.
    pub subgroup: u32,
    /// Whether sums leave through workgroup memory, else through a buffer and another dispatch. naga's SPIR-V lacks what
    /// the memory model asks for in the former, so that it may work on some drivers only.
    pub staged: bool,
}

impl Cooperative {
    /// The emulation: each invocation is a subgroup.
    pub const EMULATED: Cooperative = Cooperative { size: 4, subgroup: 1, staged: false };

    /// Its name, for people and records: `16 x 16, subgroups of 32, staged`.
    pub fn name(&self) -> String {
        let way = if self.staged { "staged" } else { "through memory" };
        format!("{0} x {0}, subgroups of {1}, {way}", self.size, self.subgroup)
    }

    /// Whether it is an emulation, which every device runs.
    pub fn is_emulated(&self) -> bool {
        self.size == Cooperative::EMULATED.size
    }
}
