use crate::graph::{Scalar, Variant};
use crate::{ops, optim};

/// All shader files by stem: those of operators, those of families of them, and those of the update.
pub fn shaders() -> impl Iterator<Item = (&'static str, ops::Shader)> {
    let operators = ops::operators().into_iter().map(|operator| (operator.name, operator.shader));
    operators.chain(ops::FAMILIES.iter().copied()).chain(optim::shaders())
}

/// The complete WGSL of a shader file: the file as it stands, its snippets, those of the variant, and the variant's
/// constants as `const` lines. What a snippet has to enable is put before the first line, so that line numbers stay.
pub fn shader_text(stem: &str, variant: &Variant) -> String {
    let (_, shader) = shaders().find(|(name, _)| *name == stem).expect("dispatches name registered shaders");
    let mut enables = String::new();
    let mut text = shader.source.to_string();
    for snippet in shader.snippets {
        text.push_str(snippet);
    }
    for stem in &variant.snippets {
        let snippet = ops::variant_snippet(stem).expect("dispatches name snippets of the table");
        enables.push_str(snippet.enables);
        text.push_str(snippet.source);
    }
    text.push_str("const WORKGROUP_SIZE: u32 = 64;\n");
    for (name, value) in &variant.constants {
        text.push_str(&match value {
            Scalar::U32(value) => format!("const {name}: u32 = {value};\n"),
            Scalar::I32(value) => format!("const {name}: i32 = {value};\n"),
            Scalar::F32(value) => format!("const {name}: f32 = {value:?};\n"),
            Scalar::Bool(value) => format!("const {name}: bool = {value};\n"),
        });
    }
    enables + &text
}

/// A hash of all shader files, to tell what was compiled or measured from other versions of them.
pub fn shader_hash() -> u64 {
    let texts = shaders()
        .flat_map(|(stem, shader)| [stem, shader.source].into_iter().chain(shader.snippets.iter().copied()));
    let variants =
        ops::VARIANT_SNIPPETS.iter().flat_map(|snippet| [snippet.stem, snippet.enables, snippet.source]);
    // FNV-1a, which stays the same from one version of Rust to the next; a text's end counts too.
    texts.chain(variants).fold(0xcbf2_9ce4_8422_2325, |hash, text| {
        let bytes = text.bytes().chain([0xff]);
        bytes.fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    })
}
