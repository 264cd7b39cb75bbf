use crate::graph::Scalar;
use crate::{ops, optim};

/// All shader files by stem: those of operators and those of the update.
pub fn shaders() -> impl Iterator<Item = (&'static str, ops::Shader)> {
    ops::registry().iter().map(|operator| (operator.name, operator.shader)).chain(optim::shaders())
}

/// The complete WGSL of a shader file: the file as it stands, its snippets, and the constants as `const` lines.
pub fn shader_text(stem: &str, constants: &[(&'static str, Scalar)]) -> String {
    let (_, shader) = shaders().find(|(name, _)| *name == stem).expect("dispatches name registered shaders");
    let mut text = shader.source.to_string();
    for snippet in shader.snippets {
        text.push_str(snippet);
    }
    text.push_str("const WORKGROUP_SIZE: u32 = 64;\n");
    for (name, value) in constants {
        text.push_str(&match value {
            Scalar::U32(value) => format!("const {name}: u32 = {value};\n"),
            Scalar::I32(value) => format!("const {name}: i32 = {value};\n"),
            Scalar::F32(value) => format!("const {name}: f32 = {value:?};\n"),
            Scalar::Bool(value) => format!("const {name}: bool = {value};\n"),
        });
    }
    text
}
