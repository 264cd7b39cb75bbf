use super::super::form::{Form, Site, Source, Step, boolean, tuple};
use crate::ops::Pair;
use crate::ops::conv2d::Convolution;
use crate::ops::linear::Affine;
use crate::ops::matmul::Matmul;

/// Channels to the end, and back.
pub(super) const TO_LAST: [usize; 4] = [0, 2, 3, 1];
pub(super) const TO_SECOND: [usize; 4] = [0, 3, 1, 2];

pub(super) fn conv2d(site: &Site<'_>) -> Option<Form> {
    let Convolution { window, groups, epilogue: None, statistics: false, .. } = site.op()? else {
        return None;
    };
    let (begin, end) = (window.padding, window.padding_end);
    let along = |kernel: usize, dilation: usize, before: usize, after: usize| {
        let rest = dilation * (kernel - 1);
        (before, after) == (rest / 2, rest.div_ceil(2))
    };
    let same = window.stride == Pair::one()
        && along(window.kernel.h, window.dilation.h, begin.h, end.h)
        && along(window.kernel.w, window.dilation.w, begin.w, end.w);
    let [kernel, stride, dilation] =
        [window.kernel, window.stride, window.dilation].map(|pair| [pair.h, pair.w]);
    let step = Step::new("Conv", site.all())
        .with("kernel_shape", kernel)
        .with("strides", stride)
        .with("pads", [begin.h, begin.w, end.h, end.w])
        .with("dilations", dilation)
        .with("group", *groups as i64);
    let filters = site.shape(1)[0];
    // PyTorch's layer has as much padding on both sides, or what "same" means; all else is put around images before.
    let padding = match (begin == end, same) {
        (true, _) => tuple(&[begin.h, begin.w]),
        (false, true) => "\"same\"".to_string(),
        (false, false) => "0".to_string(),
    };
    let module = format!(
        "nn.Conv2d({}, {filters}, {}, stride={}, padding={padding}, dilation={}, groups={groups}, bias={})",
        site.channels(),
        tuple(&kernel),
        tuple(&stride),
        tuple(&dilation),
        boolean(site.len() == 3)
    );
    let form = Form::module(vec![step], module);
    Some(match begin == end || same {
        true => form,
        false => {
            let around = [begin.w, end.w, begin.h, end.h].map(|pad| pad.to_string()).join(", ");
            Form { torch: format!("{{m}}(F.pad({{0}}, ({around})))"), ..form }
        }
    })
}

/// A matrix goes through `Gemm`; what has more dimensions through `MatMul` with the weight transposed.
pub(super) fn linear(site: &Site<'_>) -> Option<Form> {
    let Affine { epilogue: None } = site.op()? else { return None };
    let [out, inner] = site.shape(1).as_2d()?;
    let module = format!("nn.Linear({inner}, {out}, bias={})", boolean(site.len() == 3));
    let rank = site.shape(0).len();
    if rank == 2 {
        return Some(Form::module(vec![Step::new("Gemm", site.all()).with("transB", 1)], module));
    }
    let mut steps = vec![Step::new("Transpose", [Source::Input(1)]).with("perm", [1, 0])];
    let mut last = Source::Input(0);
    let then = |steps: &mut Vec<Step>, step: Step| {
        steps.push(step);
        Source::Step(steps.len() - 1)
    };
    if rank == 4 {
        last = then(&mut steps, Step::new("Transpose", [last]).with("perm", TO_LAST));
    }
    last = then(&mut steps, Step::new("MatMul", [last, Source::Step(0)]));
    if site.len() == 3 {
        last = then(&mut steps, Step::new("Add", [last, Source::Input(2)]));
    }
    if rank == 4 {
        then(&mut steps, Step::new("Transpose", [last]).with("perm", TO_SECOND));
    }
    let form = Form::module(steps, module);
    Some(if rank == 4 { form.over_channels() } else { form })
}

pub(super) fn matmul(site: &Site<'_>) -> Option<Form> {
    let Matmul { a_transposed, b_transposed } = site.op()?;
    let mut steps = vec![];
    let mut factors = [Source::Input(0), Source::Input(1)];
    for (factor, transposed) in factors.iter_mut().zip([a_transposed, b_transposed]) {
        if *transposed {
            steps.push(Step::new("Transpose", [factor.clone()]).with("perm", [1, 0]));
            *factor = Source::Step(steps.len() - 1);
        }
    }
    steps.push(Step::new("MatMul", factors));
    let turned = |transposed: &bool| if *transposed { ".T" } else { "" };
    Some(Form::new(steps, format!("{{0}}{} @ {{1}}{}", turned(a_transposed), turned(b_transposed))))
}
