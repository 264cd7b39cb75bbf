use std::fmt::Write;

use super::{Command, Plan};

/// A plan as text: a line per dispatch, then the memory.
pub fn describe(plan: &Plan) -> String {
    let mut text = String::new();
    for command in &plan.commands {
        match command {
            Command::Dispatch { label, dispatch } => {
                let [x, y, z] = dispatch.workgroups;
                let _ = writeln!(text, "{label}: {x}x{y}x{z} workgroups");
            }
            Command::Copy { from, to } => {
                let _ = writeln!(text, "copy {} bytes from {:?} to {:?}", from.bytes, from.memory, to.memory);
            }
        }
    }
    let _ = writeln!(text, "{} temporary buffers, {} bytes", plan.temporaries.len(), plan.temporary_bytes());
    text
}
