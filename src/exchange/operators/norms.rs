use super::super::form::{Form, Site, Source, Step, boolean, number};
use super::products::{TO_LAST, TO_SECOND};
use crate::ops::SampleNormForward;
use crate::ops::batch_norm::{Normalization, Statistics};
use crate::ops::group_norm::GroupNorm;
use crate::ops::instance_norm::InstanceNorm;
use crate::ops::layer_norm::{Dims, LayerNorm};
use crate::ops::layer_norm2d::LayerNorm2d;

/// The function of an exported module that takes the weight away from a norm.
pub(in crate::exchange) const SHIFT_ONLY: &str = "shift_only";

/// Weight and bias of a norm, or ones and zeros in their place: ONNX wants both.
fn affine(site: &Site<'_>, shape: &[usize]) -> [Source; 2] {
    [(1, 1.0), (2, 0.0)].map(|(input, value)| {
        if input < site.len() { Source::Input(input) } else { Source::filled(shape, value) }
    })
}

pub(super) fn batch_norm(site: &Site<'_>) -> Option<Form> {
    let plain = Normalization {
        statistics: Statistics::Running,
        residual: false,
        partials: false,
        epilogue: None,
        eps: 0.0,
    };
    let norm = site.op::<Normalization>()?;
    if *norm != (Normalization { eps: norm.eps, ..plain }) {
        return None;
    }
    let channels = site.channels();
    let is_affine = site.len() > 3;
    let [weight, bias] = match is_affine {
        true => [Source::Input(3), Source::Input(4)],
        false => [(1.0), (0.0)].map(|value| Source::filled(&[channels], value)),
    };
    let inputs = [Source::Input(0), weight, bias, Source::Input(1), Source::Input(2)];
    let step = Step::new("BatchNormalization", inputs).with("epsilon", norm.eps);
    let rank = if site.shape(0).len() == 4 { "2d" } else { "1d" };
    let (eps, affine) = (number(norm.eps), boolean(is_affine));
    let module = format!("nn.BatchNorm{rank}({channels}, eps={eps}, affine={affine})");
    let no_weight = is_affine && !site.is_parameter(3);
    Some(Form::module(vec![step], if no_weight { format!("{SHIFT_ONLY}({module})") } else { module }))
}

/// As an instance norm of groups in the place of channels, as PyTorch exports it: `GroupNormalization` came late to ONNX.
pub(super) fn group_norm(site: &Site<'_>) -> Option<Form> {
    let SampleNormForward(GroupNorm { num_groups: groups, eps, .. }) = site.op()?;
    let (input, channels) = (site.shape(0), site.channels());
    let whole: Vec<i64> = [-1].into_iter().chain(input[1..].iter().map(|dim| *dim as i64)).collect();
    let [ones, zeros] = [1.0, 0.0].map(|value| Source::filled(&[*groups], value));
    let mut steps = vec![
        Step::new("Reshape", [Source::Input(0), Source::Ints(vec![0, *groups as i64, -1])]),
        Step::new("InstanceNormalization", [Source::Step(0), ones, zeros]).with("epsilon", *eps),
        Step::new("Reshape", [Source::Step(1), Source::Ints(whole)]),
    ];
    let per_channel: Vec<i64> =
        (1..input.len()).map(|dim| if dim == 1 { channels as i64 } else { 1 }).collect();
    for (input, op) in (1..site.len()).zip(["Mul", "Add"]) {
        let last = steps.len() - 1;
        steps.push(Step::new("Reshape", [Source::Input(input), Source::Ints(per_channel.clone())]));
        steps.push(Step::new(op, [Source::Step(last), Source::Step(last + 1)]));
    }
    let (eps, affine) = (number(*eps), boolean(site.len() > 1));
    Some(Form::module(steps, format!("nn.GroupNorm({groups}, {channels}, eps={eps}, affine={affine})")))
}

pub(super) fn instance_norm(site: &Site<'_>) -> Option<Form> {
    let SampleNormForward(InstanceNorm { eps, .. }) = site.op()?;
    let channels = site.channels();
    let [weight, bias] = affine(site, &[channels]);
    let step = Step::new("InstanceNormalization", [Source::Input(0), weight, bias]).with("epsilon", *eps);
    let (eps, affine) = (number(*eps), boolean(site.len() > 1));
    Some(Form::module(vec![step], format!("nn.InstanceNorm2d({channels}, eps={eps}, affine={affine})")))
}

pub(super) fn layer_norm(site: &Site<'_>) -> Option<Form> {
    let SampleNormForward(LayerNorm { dims, eps, .. }) = site.op()?;
    let input = site.shape(0);
    let dims = dims.unwrap_or(if input.len() == 4 { Dims::Chw } else { Dims::Last });
    let (axis, shape) = match dims {
        Dims::Chw => (1, input[1..].to_vec()),
        Dims::Last => (-1, input.last().copied().into_iter().collect()),
    };
    let [weight, bias] = affine(site, &shape);
    let step = Step::new("LayerNormalization", [Source::Input(0), weight, bias]);
    let step = step.with("axis", axis).with("epsilon", *eps);
    let (eps, affine, bias) = (number(*eps), boolean(site.len() > 1), boolean(site.len() > 2));
    let module = format!("nn.LayerNorm({shape:?}, eps={eps}, elementwise_affine={affine}, bias={bias})");
    Some(Form::module(vec![step], module))
}

/// A layer norm with the channels moved to the end.
pub(super) fn layer_norm2d(site: &Site<'_>) -> Option<Form> {
    let SampleNormForward(LayerNorm2d { eps, .. }) = site.op()?;
    let channels = site.channels();
    let [weight, bias] = affine(site, &[channels]);
    let steps = vec![
        Step::new("Transpose", [Source::Input(0)]).with("perm", TO_LAST),
        Step::new("LayerNormalization", [Source::Step(0), weight, bias])
            .with("axis", -1)
            .with("epsilon", *eps),
        Step::new("Transpose", [Source::Step(1)]).with("perm", TO_SECOND),
    ];
    let (eps, affine) = (number(*eps), boolean(site.len() > 1));
    let module = format!("nn.LayerNorm([{channels}], eps={eps}, elementwise_affine={affine})");
    Some(Form::module(steps, module).over_channels())
}
