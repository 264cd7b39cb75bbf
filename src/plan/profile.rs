use super::Command;
use crate::graph::Access;

/// One piece of a run with the time that it took: a command of a plan, or a node on the CPU.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// The node and the operator, such as `3.body.0 conv2d.forward`.
    pub label: String,
    /// What ran: shader and entry point, or operator and pass.
    pub kernel: String,
    /// Floating-point operations; a multiply-add counts two.
    pub flops: u64,
    /// Bytes that have to be moved at least: every buffer once, and twice if it is changed in place.
    pub bytes: u64,
    /// Seconds from the beginning of the run to its own.
    pub began: f64,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Command {
    /// The command with the time that it took.
    pub fn timed(&self, began: f64, seconds: f64) -> KernelTime {
        let (label, kernel, flops) = match self {
            Command::Dispatch { label, dispatch } => {
                (label.clone(), format!("{}.{}", dispatch.shader, dispatch.entry), dispatch.flops)
            }
            Command::Copy { .. } => ("copy".to_string(), "copy".to_string(), 0),
        };
        KernelTime { label, kernel, flops, bytes: self.traffic(), began, seconds }
    }

    /// Bytes that have to be moved at least.
    fn traffic(&self) -> u64 {
        let dispatch = match self {
            Command::Copy { from, to } => return from.bytes + to.bytes,
            Command::Dispatch { dispatch, .. } => dispatch,
        };
        // Entry points of this name, those of optimizers and running statistics, change their buffers in place.
        let in_place = dispatch.entry == "update";
        let bytes = dispatch.bindings.iter().map(|binding| {
            let twice = in_place && binding.access == Access::ReadWrite;
            binding.buffer.bytes * if twice { 2 } else { 1 }
        });
        bytes.sum()
    }
}
