use super::super::form::{Form, Site, Source, Step, boolean, tuple};
use crate::ops::adaptive_avg_pool2d::AdaptiveAvgPool2d;
use crate::ops::avg_pool2d::AvgPool2d;
use crate::ops::global_avg_pool2d::GlobalAvgPool2d;
use crate::ops::max_pool2d::MaxPool2d;
use crate::ops::{Average, AveragePool, Boxes, Pair, Side};

pub(super) fn global_avg_pool2d(site: &Site<'_>) -> Option<Form> {
    let AveragePool(GlobalAvgPool2d { flat }) = site.op()?;
    let mut steps = vec![Step::new("GlobalAveragePool", site.all())];
    if *flat {
        steps.push(Step::new("Flatten", [Source::Step(0)]).with("axis", 1));
        return Some(Form::new(steps, "{0}.mean((2, 3))"));
    }
    Some(Form::new(steps, "F.adaptive_avg_pool2d({0}, 1)"))
}

/// The largest of each window. A last window that hangs over the end becomes padding, which never wins: runtimes do not
/// agree on `ceil_mode`.
pub(super) fn max_pool2d(site: &Site<'_>) -> Option<Form> {
    let MaxPool2d { kernel_size, stride, padding, dilation, ceil_mode } = site.op::<MaxPool2d>()?;
    let stride = stride.unwrap_or(*kernel_size);
    let step = Step::new("MaxPool", site.all())
        .with("kernel_shape", [kernel_size.h, kernel_size.w])
        .with("strides", [stride.h, stride.w])
        .with("pads", pads(site, [*kernel_size, stride, *padding, *dilation])?)
        .with("dilations", [dilation.h, dilation.w]);
    let torch = format!(
        "F.max_pool2d({{0}}, {}, stride={}, padding={}, dilation={}, ceil_mode={})",
        tuple(&[kernel_size.h, kernel_size.w]),
        tuple(&[stride.h, stride.w]),
        tuple(&[padding.h, padding.w]),
        tuple(&[dilation.h, dilation.w]),
        boolean(*ceil_mode)
    );
    Some(Form::new(vec![step], torch))
}

/// Padding above, left, below and right, of which the last two hold the windows that hang over the end.
fn pads(site: &Site<'_>, [kernel, stride, padding, dilation]: [Pair; 4]) -> Option<[usize; 4]> {
    let [_, _, h, w] = site.shape(0).as_4d()?;
    let [_, _, p, q] = site.output().as_4d()?;
    let end = |windows: usize, stride: usize, span: usize, size: usize, padding: usize| {
        let needed = (windows - 1) * stride + span;
        needed.saturating_sub(size + padding).max(padding)
    };
    let span = [dilation.h * (kernel.h - 1) + 1, dilation.w * (kernel.w - 1) + 1];
    let below = end(p, stride.h, span[0], h, padding.h);
    let right = end(q, stride.w, span[1], w, padding.w);
    Some([padding.h, padding.w, below, right])
}

pub(super) fn avg_pool2d(site: &Site<'_>) -> Option<Form> {
    let AveragePool(pool) = site.op::<AveragePool<AvgPool2d>>()?;
    let AvgPool2d { kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override } = *pool;
    let stride = stride.unwrap_or(kernel_size);
    let torch = format!(
        "F.avg_pool2d({{0}}, {}, stride={}, padding={}, ceil_mode={}, count_include_pad={}, divisor_override={})",
        tuple(&[kernel_size.h, kernel_size.w]),
        tuple(&[stride.h, stride.w]),
        tuple(&[padding.h, padding.w]),
        boolean(ceil_mode),
        boolean(count_include_pad),
        divisor_override.map_or("None".to_string(), |divisor| divisor.to_string())
    );
    // Without padding there is none to count.
    let counts = count_include_pad && padding != Pair::zero();
    if (ceil_mode && counts) || divisor_override.is_some() {
        return Some(Form::new(means(&pool.boxes(site.shape(0)), site), torch));
    }
    let step = Step::new("AveragePool", site.all())
        .with("kernel_shape", [kernel_size.h, kernel_size.w])
        .with("strides", [stride.h, stride.w])
        .with("pads", pads(site, [kernel_size, stride, padding, Pair::one()])?)
        .with("count_include_pad", i64::from(counts));
    Some(Form::new(vec![step], torch))
}

pub(super) fn adaptive_avg_pool2d(site: &Site<'_>) -> Option<Form> {
    let AveragePool(pool) = site.op::<AveragePool<AdaptiveAvgPool2d>>()?;
    let [_, _, h, w] = site.shape(0).as_4d()?;
    let [_, _, p, q] = site.output().as_4d()?;
    let torch = format!("F.adaptive_avg_pool2d({{0}}, {})", tuple(&[p, q]));
    if !h.is_multiple_of(p) || !w.is_multiple_of(q) {
        return Some(Form::new(means(&pool.boxes(site.shape(0)), site), torch));
    }
    let step = Step::new("AveragePool", site.all())
        .with("kernel_shape", [h / p, w / q])
        .with("strides", [h / p, w / q]);
    Some(Form::new(vec![step], torch))
}

/// Means over boxes of any sizes as products with matrices, which are exact where no attribute of ONNX's pools says it:
/// rows by one from the left, columns by another from the right.
fn means(boxes: &Boxes, site: &Site<'_>) -> Vec<Step> {
    let (h, w) = (site.shape(0)[2], site.shape(0)[3]);
    let shares = |sides: &[Side], size: usize, divisor: Option<usize>| -> Vec<Vec<f32>> {
        let row = |side: &Side| {
            let share = 1.0 / divisor.unwrap_or(side.extent) as f32;
            (0..size).map(|at| if (side.start..side.end).contains(&at) { share } else { 0.0 }).collect()
        };
        sides.iter().map(row).collect()
    };
    // A fixed divisor is that of both sides together.
    let rows = shares(&boxes.rows, h, boxes.divisor);
    let columns = shares(&boxes.columns, w, boxes.divisor.map(|_| 1));
    let (p, q) = (rows.len(), columns.len());
    let transposed = (0..w).flat_map(|at| columns.iter().map(move |column| column[at])).collect();
    let left = Source::Floats(vec![p, h], rows.concat());
    vec![
        Step::new("MatMul", [left, Source::Input(0)]),
        Step::new("MatMul", [Source::Step(0), Source::Floats(vec![w, q], transposed)]),
    ]
}
