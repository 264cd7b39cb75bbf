//! The table of operators: what each is in ONNX and in PyTorch. An operator's line here is all that exporting it takes.

mod activations;
pub(super) mod norms;
mod pools;
mod products;

use super::form::{Form, Site, Source, Step};
use crate::error::{Error, Result};
use crate::graph::Op;
use crate::ops::flatten::ToRows;
use crate::ops::{add::Add, concat::Concat, fill::Fill, mul::Mul};

use super::form::number;

/// An operator of the registry that can leave wgrad.
pub(super) struct Operator {
    /// Its name in the registry.
    pub(super) name: &'static str,
    /// What it is elsewhere; none for a pass or a configuration that inference graphs do not have.
    pub(super) form: fn(&Site<'_>) -> Option<Form>,
}

macro_rules! operators {
    ($($name:literal => $form:expr),* $(,)?) => {
        /// All operators that can leave wgrad, in alphabetical order.
        pub(super) const OPERATORS: &[Operator] = &[$(Operator { name: $name, form: $form }),*];
    };
}

operators! {
    "adaptive_avg_pool2d" => pools::adaptive_avg_pool2d,
    "add" => |site| site.op::<Add>().map(|_| Form::new(vec![Step::new("Add", site.all())], "{0} + {1}")),
    "avg_pool2d" => pools::avg_pool2d,
    "batch_norm" => norms::batch_norm,
    "concat" => concat,
    "conv2d" => products::conv2d,
    "elu" => activations::elu,
    "fill" => fill,
    "flatten" => flatten,
    "gelu" => activations::gelu,
    "global_avg_pool2d" => pools::global_avg_pool2d,
    "group_norm" => norms::group_norm,
    "hardsigmoid" => activations::hardsigmoid,
    "hardswish" => activations::hardswish,
    "instance_norm" => norms::instance_norm,
    "layer_norm" => norms::layer_norm,
    "layer_norm2d" => norms::layer_norm2d,
    "leaky_relu" => activations::leaky_relu,
    "linear" => products::linear,
    "matmul" => products::matmul,
    "max_pool2d" => pools::max_pool2d,
    "mul" => |site| site.op::<Mul>().map(|_| Form::new(vec![Step::new("Mul", site.all())], "{0} * {1}")),
    "relu" => activations::relu,
    "relu6" => activations::relu6,
    "sigmoid" => activations::sigmoid,
    "silu" => activations::silu,
    "softplus" => activations::softplus,
    "tanh" => activations::tanh,
}

/// What the operator of a site is elsewhere.
///
/// # Errors
/// If it has no form there; `format` names the place.
pub(super) fn form_of(op: &dyn Op, site: &Site<'_>, format: &str) -> Result<Form> {
    let operator = OPERATORS.iter().find(|operator| operator.name == op.name());
    operator.and_then(|operator| (operator.form)(site)).ok_or_else(|| Error::Shape {
        op: op.name(),
        node: site.graph.nodes()[site.node].name.clone(),
        message: format!("has no form in {format}"),
    })
}

fn concat(site: &Site<'_>) -> Option<Form> {
    site.op::<Concat>()?;
    let inputs: Vec<String> = (0..site.len()).map(|i| format!("{{{i}}}")).collect();
    let torch = format!("torch.cat([{}], dim=1)", inputs.join(", "));
    Some(Form::new(vec![Step::new("Concat", site.all()).with("axis", 1)], torch))
}

fn fill(site: &Site<'_>) -> Option<Form> {
    let Fill { shape, value } = site.op::<Fill>()?;
    let torch = match shape.len() {
        0 => number(*value),
        _ => format!("torch.full({:?}, {})", shape.to_vec(), number(*value)),
    };
    Some(Form::new(vec![Step::new("Identity", [Source::filled(shape, *value)])], torch))
}

fn flatten(site: &Site<'_>) -> Option<Form> {
    site.op::<ToRows>()?;
    Some(Form::new(vec![Step::new("Flatten", site.all()).with("axis", 1)], "torch.flatten({0}, 1)"))
}

#[cfg(test)]
mod tests;
