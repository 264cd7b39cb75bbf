//! Products of f16 matrices and convolutions in the tier of cooperative matrices (`shaders/cooperative.wgsl`).

mod grid;
mod job;

use self::grid::{Grid, WindowAxis};
use self::job::{Factor, Job, Taps};
use super::convolution::Dims;
use super::epilogue::Epilogue;
use super::product::Product;
use crate::graph::{Lower, Slot};
use crate::tensor::DType;

/// Adds the dispatches of `Output(0) = epilogue(Input(0) * Input(1) + bias)`, a convolution; false, and nothing added, where the
/// tier is not in use or does not fit.
pub(crate) fn convolution(
    lower: &mut Lower<'_>,
    dims: &Dims,
    bias: Option<Slot>,
    epilogue: Option<Epilogue>,
) -> bool {
    let Some(device) = lower.capabilities.cooperative.filter(|_| suits(lower, dims)) else { return false };
    let window = WindowAxis::of(dims);
    let grid = Grid::of(dims.n, &window, WindowAxis::input);
    let job = Job {
        device,
        m: grid.pixels(),
        n: dims.k,
        depth: dims.c,
        left: Factor { slot: Slot::Input(0), rows: true, stride: dims.c, gather: Some(grid) },
        right: Factor { slot: Slot::Input(1), rows: false, stride: dims.taps(), gather: None },
        taps: Taps::Forth,
        window,
        channels: dims.c,
        output: Grid::of(dims.n, &window, WindowAxis::output),
        bias,
        epilogue,
    };
    job.lower(lower)
}

/// The same for `Output(0)`, the gradient of the input, from `Input(0)`, that of the output, and `Input(1)`, the weight.
pub(crate) fn convolution_grad_input(lower: &mut Lower<'_>, dims: &Dims) -> bool {
    let Some(device) = lower.capabilities.cooperative.filter(|_| suits(lower, dims)) else { return false };
    let window = WindowAxis::of(dims);
    let grid = Grid::of(dims.n, &window, WindowAxis::grad_output);
    let job = Job {
        device,
        m: grid.pixels(),
        n: dims.c,
        depth: dims.k,
        left: Factor { slot: Slot::Input(0), rows: true, stride: dims.k, gather: Some(grid) },
        right: Factor { slot: Slot::Input(1), rows: true, stride: dims.taps(), gather: None },
        taps: Taps::Back,
        window,
        channels: dims.c,
        output: Grid::of(dims.n, &window, WindowAxis::grad_input),
        bias: None,
        epilogue: None,
    };
    job.lower(lower)
}

/// The same for `Output(0)`, the gradient of the weight, from `Input(0)`, that of the output, and `Input(1)`, the input.
///
/// Where the grid has zeros, so has the gathered gradient; an infinite or NaN input beside them gives NaN in taps that
/// never meet it. A step with such an input changes nothing anyway.
pub(crate) fn convolution_grad_weight(lower: &mut Lower<'_>, dims: &Dims) -> bool {
    let Some(device) = lower.capabilities.cooperative.filter(|_| suits(lower, dims)) else { return false };
    let window = WindowAxis::of(dims);
    let places = Grid::of(dims.n, &window, WindowAxis::output);
    let input = Grid::of(dims.n, &window, WindowAxis::input);
    let job = Job {
        device,
        m: dims.k,
        n: dims.taps(),
        depth: places.pixels(),
        left: Factor { slot: Slot::Input(0), rows: false, stride: dims.k, gather: Some(places) },
        right: Factor { slot: Slot::Input(1), rows: true, stride: dims.c, gather: Some(input) },
        taps: Taps::Across,
        window,
        channels: dims.c,
        output: Grid::rows(dims.k),
        bias: None,
        epilogue: None,
    };
    job.lower(lower)
}

/// The same for `Output(0) = epilogue(a b + bias)`.
pub(crate) fn product(
    lower: &mut Lower<'_>,
    product: &Product,
    [a, b]: [Slot; 2],
    bias: Option<Slot>,
    epilogue: Option<Epilogue>,
) -> bool {
    let Some(device) = lower.capabilities.cooperative.filter(|_| both_half(lower)) else { return false };
    let Product { m, n, k, a: a_strides, b: b_strides } = *product;
    // Rows in memory may be too few for a tile: then they are copied, with zeros. Columns may not.
    let factor = |slot, [row, column]: [usize; 2], [rows, columns]: [usize; 2], gather: bool| match column {
        1 => Factor { slot, rows: true, stride: row, gather: gather.then(|| Grid::rows(rows)) },
        _ => Factor { slot, rows: false, stride: column, gather: gather.then(|| Grid::rows(columns)) },
    };
    let job = Job {
        device,
        m,
        n,
        depth: k,
        left: factor(a, a_strides, [m, k], true),
        right: factor(b, b_strides, [k, n], b_strides[1] == 1),
        taps: Taps::Forth,
        window: [WindowAxis::ONE; 2],
        channels: n,
        output: Grid::rows(m),
        bias,
        epilogue,
    };
    job.lower(lower)
}

fn suits(lower: &Lower<'_>, dims: &Dims) -> bool {
    dims.groups == 1 && both_half(lower)
}

fn both_half(lower: &Lower<'_>) -> bool {
    lower.inputs[..2].iter().all(|input| input.dtype == DType::F16)
}
