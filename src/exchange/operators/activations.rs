use super::super::form::{Form, Site, Source, Step, number};
use crate::ops::Unary;
use crate::ops::elu::Elu;
use crate::ops::gelu::{Approximate, Gelu};
use crate::ops::hardsigmoid::Hardsigmoid;
use crate::ops::hardswish::Hardswish;
use crate::ops::leaky_relu::LeakyRelu;
use crate::ops::relu::Relu;
use crate::ops::relu6::Relu6;
use crate::ops::sigmoid::Sigmoid;
use crate::ops::silu::Silu;
use crate::ops::softplus::Softplus;
use crate::ops::tanh::Tanh;

/// A logarithm of 1 + exp(z) is z itself in f32 from here on.
const SOFTPLUS_IS_LINEAR: f32 = 17.0;

fn plain(op: &'static str, torch: &str) -> Option<Form> {
    Some(Form::new(vec![Step::new(op, [Source::Input(0)])], torch))
}

pub(super) fn elu(site: &Site<'_>) -> Option<Form> {
    let alpha = site.op::<Unary<Elu>>()?.0.alpha;
    let step = Step::new("Elu", [Source::Input(0)]).with("alpha", alpha);
    Some(Form::new(vec![step], format!("F.elu({{0}}, alpha={})", number(alpha))))
}

pub(super) fn gelu(site: &Site<'_>) -> Option<Form> {
    let approximate = match site.op::<Unary<Gelu>>()?.0.approximate {
        Approximate::None => "none",
        Approximate::Tanh => "tanh",
    };
    let step = Step::new("Gelu", [Source::Input(0)]).with("approximate", approximate);
    Some(Form::new(vec![step], format!("F.gelu({{0}}, approximate=\"{approximate}\")")))
}

pub(super) fn hardsigmoid(site: &Site<'_>) -> Option<Form> {
    site.op::<Unary<Hardsigmoid>>()?;
    let step = Step::new("HardSigmoid", [Source::Input(0)]).with("alpha", 1.0 / 6.0).with("beta", 0.5);
    Some(Form::new(vec![step], "F.hardsigmoid({0})"))
}

pub(super) fn hardswish(site: &Site<'_>) -> Option<Form> {
    site.op::<Unary<Hardswish>>()?;
    plain("HardSwish", "F.hardswish({0})")
}

pub(super) fn leaky_relu(site: &Site<'_>) -> Option<Form> {
    let slope = site.op::<Unary<LeakyRelu>>()?.0.negative_slope;
    let step = Step::new("LeakyRelu", [Source::Input(0)]).with("alpha", slope);
    Some(Form::new(vec![step], format!("F.leaky_relu({{0}}, {})", number(slope))))
}

pub(super) fn relu(site: &Site<'_>) -> Option<Form> {
    site.op::<Unary<Relu>>()?;
    plain("Relu", "F.relu({0})")
}

pub(super) fn relu6(site: &Site<'_>) -> Option<Form> {
    site.op::<Unary<Relu6>>()?;
    let step = Step::new("Clip", [Source::Input(0), Source::scalar(0.0), Source::scalar(6.0)]);
    Some(Form::new(vec![step], "F.relu6({0})"))
}

pub(super) fn sigmoid(site: &Site<'_>) -> Option<Form> {
    site.op::<Unary<Sigmoid>>()?;
    plain("Sigmoid", "torch.sigmoid({0})")
}

/// x sigmoid(x)
pub(super) fn silu(site: &Site<'_>) -> Option<Form> {
    site.op::<Unary<Silu>>()?;
    let steps =
        vec![Step::new("Sigmoid", [Source::Input(0)]), Step::new("Mul", [Source::Input(0), Source::Step(0)])];
    Some(Form::new(steps, "F.silu({0})"))
}

/// log(1 + exp(beta x)) / beta, and x where beta x exceeds the threshold, if that makes a difference.
pub(super) fn softplus(site: &Site<'_>) -> Option<Form> {
    let Softplus { beta, threshold } = site.op::<Unary<Softplus>>()?.0;
    let torch = format!("F.softplus({{0}}, beta={}, threshold={})", number(beta), number(threshold));
    let linear = threshold < SOFTPLUS_IS_LINEAR;
    if beta == 1.0 && !linear {
        return plain("Softplus", &torch);
    }
    let mut steps = vec![
        Step::new("Mul", [Source::Input(0), Source::scalar(beta)]),
        Step::new("Softplus", [Source::Step(0)]),
        Step::new("Div", [Source::Step(1), Source::scalar(beta)]),
    ];
    if linear {
        steps.push(Step::new("Greater", [Source::Step(0), Source::scalar(threshold)]));
        steps.push(Step::new("Where", [Source::Step(3), Source::Input(0), Source::Step(2)]));
    }
    Some(Form::new(steps, torch))
}

pub(super) fn tanh(site: &Site<'_>) -> Option<Form> {
    site.op::<Unary<Tanh>>()?;
    plain("Tanh", "torch.tanh({0})")
}
