//! The operators: one file each, with its struct, shape rule, gradient rule, dispatches, CPU kernel and samples; and
//! the registry from which tests, documentation and `wgrad selftest` are derived.

mod shared;

use std::sync::{Arc, PoisonError, RwLock};

use crate::error::{Error, Result};
use crate::graph::{Graph, Op, Value, reverse_walk};

pub(crate) use shared::average::{Average, AveragePool, Boxes, Side};
pub use shared::epilogue::Epilogue;
pub(crate) use shared::layer::unknown_argument;
pub use shared::layer::{Layer, LayerParser, parse_layer};
pub use shared::reduction::Reduction;
pub use shared::sample::{Draw, Sample, SampleInput};
pub(crate) use shared::sample_norm::Forward as SampleNormForward;
pub(crate) use shared::unary::Unary;
pub use shared::window::{Padding, Pair, Same, Window};

/// A shader file and the shared snippets that are appended to it.
#[derive(Clone, Copy, Debug)]
pub struct Shader {
    /// The file as it stands.
    pub source: &'static str,
    /// Files of `shaders/shared/`.
    pub snippets: &'static [&'static str],
}

/// One line of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Operator {
    /// The stem of its files.
    pub name: &'static str,
    /// What it is, in a line, with PyTorch's name.
    pub summary: &'static str,
    /// Its shader.
    pub shader: Shader,
    /// How it appears in model files; none for operators that are no layers.
    pub layer: Option<LayerParser>,
    /// Small cases for gradient checks and for comparing devices.
    pub samples: fn() -> Vec<Sample>,
}

/// The shared snippets.
pub mod snippets {
    /// Where an invocation is; appended to every shader.
    pub const INDEX: &str = include_str!("../../shaders/shared/index.wgsl");
    /// Tiles of matrix products.
    pub const GEMM: &str = include_str!("../../shaders/shared/gemm.wgsl");
    /// Bindings and entry points of products of strided matrices; needs `GEMM`, `SLABS` and `EPILOGUE`.
    pub const PRODUCT: &str = include_str!("../../shaders/shared/product.wgsl");
    /// The gradients of `conv2d`; needs `GEMM`.
    pub const CONV2D_GRADIENTS: &str = include_str!("../../shaders/shared/conv2d_gradients.wgsl");
    /// Products of `conv2d` without workgroup memory; needs `GEMM`, `CONV2D_GRADIENTS`, `SLABS` and `EPILOGUE`.
    pub const CONV2D_DIRECT: &str = include_str!("../../shaders/shared/conv2d_direct.wgsl");
    /// Direct kernels of `conv2d` for groups of few channels; needs `SLABS` and `EPILOGUE`.
    pub const CONV2D_GROUPED: &str = include_str!("../../shaders/shared/conv2d_grouped.wgsl");
    /// Sums that are split into slabs; needs `EPILOGUE`.
    pub const SLABS: &str = include_str!("../../shaders/shared/slabs.wgsl");
    /// The gradient of a bias; needs `SLABS`.
    pub const GRAD_BIAS: &str = include_str!("../../shaders/shared/grad_bias.wgsl");
    /// Bindings and entry points of elementwise activations.
    pub const UNARY: &str = include_str!("../../shaders/shared/unary.wgsl");
    /// Activations at the end of a kernel; needs `SPECIAL`.
    pub const EPILOGUE: &str = include_str!("../../shaders/shared/epilogue.wgsl");
    /// Functions that WGSL lacks or leaves inaccurate: erf, expm1, tanh, sigmoid.
    pub const SPECIAL: &str = include_str!("../../shaders/shared/special.wgsl");
    /// Bindings and entry point of the dropouts.
    pub const MASK: &str = include_str!("../../shaders/shared/mask.wgsl");
    /// Bindings and entry point of broadcasting functions of two tensors.
    pub const BINARY: &str = include_str!("../../shaders/shared/binary.wgsl");
    /// Bindings and entry points of averaging pools.
    pub const AVERAGE: &str = include_str!("../../shaders/shared/average.wgsl");
    /// Bindings and entry points of losses that are means of a function of input and target; needs `REDUCE`.
    pub const POINTWISE_LOSS: &str = include_str!("../../shaders/shared/pointwise_loss.wgsl");
    /// Counter-based random numbers.
    pub const RANDOM: &str = include_str!("../../shaders/shared/random.wgsl");
    /// Bindings and entry points of norms over sets of one sample; needs `REDUCE`.
    pub const SAMPLE_NORM: &str = include_str!("../../shaders/shared/sample_norm.wgsl");
    /// Bindings and entry point of the optimizers, gradient norm, clipping and halt flag; needs `REDUCE`.
    pub const UPDATE: &str = include_str!("../../shaders/shared/update.wgsl");
    /// The first entry point of optimizers that have two; needs `UPDATE`.
    pub const PREPARE: &str = include_str!("../../shaders/shared/prepare.wgsl");
    /// Sums over a workgroup.
    pub const REDUCE: &str = include_str!("../../shaders/shared/reduce.wgsl");
}

/// A snippet that a dispatch chooses.
#[derive(Clone, Copy, Debug)]
pub struct VariantSnippet {
    /// Its stem.
    pub stem: &'static str,
    /// The file as it stands.
    pub source: &'static str,
    /// Directives that the whole shader needs for it.
    pub enables: &'static str,
}

macro_rules! variant_snippets {
    ($($stem:literal $(needs $enables:literal)?),* $(,)?) => {
        /// The snippets from which dispatches choose.
        pub const VARIANT_SNIPPETS: &[VariantSnippet] = &[$(VariantSnippet {
            stem: $stem,
            source: include_str!(concat!("../../shaders/shared/", $stem, ".wgsl")),
            enables: concat!("" $(, $enables)?),
        }),*];
    };
}

variant_snippets! {
    "coop_16x16" needs "enable f16; enable wgpu_cooperative_matrix;",
    "coop_8x8" needs "enable f16; enable wgpu_cooperative_matrix;",
    "coop_emulated",
    "coop_partial",
    "coop_staged",
    "coop_tiles",
    "load_f16",
    "load_f32",
    "load_f32x1",
    "store_f16",
    "store_f32",
    "store_f32x4",
}

/// The snippet of a stem.
pub fn variant_snippet(stem: &str) -> Option<&'static VariantSnippet> {
    VARIANT_SNIPPETS.iter().find(|snippet| snippet.stem == stem)
}

/// The shader `shaders/$name.wgsl` with the snippets that it uses.
#[macro_export]
macro_rules! shader {
    ($name:literal $(, $snippet:ident)*) => {
        $crate::ops::Shader {
            source: include_str!(concat!("../../shaders/", $name, ".wgsl")),
            snippets: &[$crate::ops::snippets::INDEX $(, $crate::ops::snippets::$snippet)*],
        }
    };
}

/// Shader files that several operators share, with entry points of their own.
pub const FAMILIES: &[(&str, Shader)] = &[("cooperative", shader!("cooperative", SPECIAL, EPILOGUE))];

macro_rules! built_in {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*

        /// wgrad's own operators, in alphabetical order.
        pub fn registry() -> &'static [Operator] {
            const REGISTRY: &[Operator] = &[$($name::OPERATOR),*];
            REGISTRY
        }
    };
}

built_in! {
    accuracy,
    adaptive_avg_pool2d,
    add,
    add_scaled,
    augment,
    avg_pool2d,
    batch_norm,
    bce_with_logits,
    cast,
    concat,
    conv2d,
    cross_entropy,
    drop_path,
    dropout,
    dropout2d,
    elu,
    fill,
    flatten,
    gather_batch,
    gelu,
    global_avg_pool2d,
    group_norm,
    hardsigmoid,
    hardswish,
    instance_norm,
    layer_norm,
    layer_norm2d,
    leaky_relu,
    linear,
    loss_scale,
    matmul,
    max_pool2d,
    mix_images,
    mix_targets,
    mse,
    mul,
    relu,
    relu6,
    scale_by_norm,
    sigmoid,
    silu,
    smooth_l1,
    softplus,
    sum_to,
    tanh,
    views,
}

static REGISTERED: RwLock<Vec<Operator>> = RwLock::new(Vec::new());

/// wgrad's own operators, then those that the program [registered](register).
pub fn operators() -> Vec<Operator> {
    let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
    registry().iter().chain(registered.iter()).copied().collect()
}

/// Makes an operator of the program's own known, so that its shader is found, model files may name it (if it has a
/// layer) and `selftest` checks its samples. Register operators before a device is opened: caches of kernels are
/// kept by a hash of all shaders. `examples/custom_operator/` does it.
///
/// # Errors
/// If the name is taken.
pub fn register(operator: Operator) -> Result<()> {
    let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
    let known = registry().iter().chain(registered.iter()).map(|known| known.name);
    let mut shaders = known.chain(FAMILIES.iter().map(|(stem, _)| *stem));
    if shaders.any(|name| name == operator.name) {
        return Err(Error::Model(format!(
            "cannot have an operator \"{}\": there is one of this name",
            operator.name
        )));
    }
    registered.push(operator);
    Ok(())
}

/// Adds the gradients of `loss` (if it is no scalar, of the sum of its elements) with respect to each of `wrt` to the graph, as
/// ordinary nodes with the shapes of these; in mixed precision times the loss scale. `None` for what does not reach the
/// loss. `examples/gradient.rs` computes some.
///
/// # Errors
/// If an operator on the way has no gradient.
pub fn gradients(graph: &mut Graph, loss: Value, wrt: &[Value]) -> Result<Vec<Option<Value>>> {
    let shape = graph.shape(loss).clone();
    let seed: Arc<dyn Op> = if graph.is_half() {
        Arc::new(loss_scale::LossScale { shape })
    } else {
        Arc::new(fill::Fill { shape, value: 1.0 })
    };
    let seed = graph.apply_named("loss".into(), seed, &[])?[0];
    gradients_of(graph, &[(loss, seed)], wrt)
}

/// Adds the gradients of several values, each with its upstream gradient (of the value's shape), with respect to `wrt` to the
/// graph: a vector-Jacobian product.
///
/// # Errors
/// If an operator on the way has no gradient.
pub fn gradients_of(
    graph: &mut Graph,
    seeds: &[(Value, Value)],
    wrt: &[Value],
) -> Result<Vec<Option<Value>>> {
    reverse_walk(graph, seeds, wrt, |graph, name, a, b| {
        Ok(graph.apply_named(name, Arc::new(add::Add::default()), &[a, b])?[0])
    })
}
