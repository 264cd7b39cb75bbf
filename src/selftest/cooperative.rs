//! Products and convolutions of f16 in the tier of cooperative matrices: cases for its tests and for its proof on a
//! device.

use std::sync::Arc;

use super::serially;
use crate::cpu;
use crate::error::Result;
use crate::gpu::{self, Gpu};
use crate::graph::{
    Capabilities, Context, Dispatch, Graph, Init, Lower, Mode, NodeKind, Op, Slot, Step, TensorDesc, View,
    ViewMut,
};
use crate::ops::cast::Cast;
use crate::ops::conv2d::Conv2d;
use crate::ops::linear::Linear;
use crate::ops::matmul::Matmul;
use crate::ops::{self, Layer, Padding, Pair, Same};
use crate::plan::{Data, Plan, Program};
use crate::tensor::DType;

/// A pass of an operator with a given type of output.
#[derive(Clone, Debug)]
struct HalfOp {
    op: Arc<dyn Op>,
    output: DType,
}

impl Op for HalfOp {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn pass(&self) -> &'static str {
        self.op.pass()
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        let inputs: Vec<_> = inputs.iter().map(|input| input.with_dtype(DType::F32)).collect();
        let outputs = self.op.infer(&inputs)?;
        Ok(outputs.into_iter().map(|output| output.with_dtype(self.output)).collect())
    }

    fn takes_half(&self, _: usize, _: &[TensorDesc]) -> bool {
        true
    }

    fn lower(&self, lower: &mut Lower<'_>) {
        self.op.lower(lower);
    }

    fn eval_f32(&self, c: &Context<'_, f32>, inputs: &[View<'_, f32>], outputs: &mut [ViewMut<'_, f32>]) {
        self.op.eval_f32(c, inputs, outputs);
    }

    fn eval_f64(&self, c: &Context<'_, f64>, inputs: &[View<'_, f64>], outputs: &mut [ViewMut<'_, f64>]) {
        self.op.eval_f64(c, inputs, outputs);
    }
}

/// One pass of an operator; its first two inputs are f16.
#[derive(Clone, Debug)]
pub struct ProductCase {
    /// What it is.
    pub id: String,
    op: HalfOp,
    inputs: Vec<TensorDesc>,
}

impl ProductCase {
    /// Its dispatches, or none if the tier does not take it.
    pub fn lower(&self, capabilities: &Capabilities) -> Option<Vec<Dispatch<Slot>>> {
        let outputs = self.op.infer(&self.inputs).expect("cases fit");
        let mut lower = Lower::new(&self.id, &self.inputs, &outputs, capabilities);
        self.op.lower(&mut lower);
        let dispatches = lower.finish().dispatches;
        dispatches.iter().any(|dispatch| dispatch.shader == "cooperative").then_some(dispatches)
    }
}

/// The forward pass and the gradients of input and weight of a network of one layer.
fn passes(id: &str, input: &[usize], build: impl Fn(&mut Graph, &[usize]) -> Result<()>) -> Vec<ProductCase> {
    let mut graph = Graph::new(Mode::Train);
    build(&mut graph, input).unwrap_or_else(|error| panic!("{id}: {error}"));
    let mut cases = vec![];
    for node in graph.nodes() {
        let NodeKind::Op(op) = &node.kind else { continue };
        let output = if op.pass() == "grad_weight" { DType::F32 } else { DType::F16 };
        if !["conv2d", "linear", "matmul"].contains(&op.name()) || op.pass() == "grad_bias" {
            continue;
        }
        let inputs = node
            .inputs
            .iter()
            .enumerate()
            .map(|(i, value)| graph.desc(*value).with_dtype(if i < 2 { DType::F16 } else { DType::F32 }));
        let id = format!("{id} {}", op.pass());
        cases.push(ProductCase { id, inputs: inputs.collect(), op: HalfOp { op: op.clone(), output } });
    }
    cases
}

fn convolution(
    unit: usize,
    id: &str,
    [n, c, h, w]: [usize; 4],
    filters: usize,
    layer: Conv2d,
) -> Vec<ProductCase> {
    let layer = Conv2d { out_channels: filters * unit, ..layer };
    passes(&format!("conv2d {id}"), &[n, c * unit, h, w], |graph, input| {
        // The gradient of an input is made only if something below needs it.
        let leaf = graph.parameter("input", input, Init::Default)?;
        let output = layer.build(graph, leaf)?;
        ops::gradients(graph, output, &graph.parameters()).map(drop)
    })
}

fn linear(unit: usize, id: &str, rows: usize, inputs: usize, outputs: usize) -> Vec<ProductCase> {
    passes(&format!("linear {id}"), &[rows, inputs * unit], |graph, input| {
        let leaf = graph.parameter("input", input, Init::Default)?;
        let output = Linear::new(outputs * unit).build(graph, leaf)?;
        ops::gradients(graph, output, &graph.parameters()).map(drop)
    })
}

fn matmul(unit: usize, id: &str, [m, k, n]: [usize; 3], transposed: [bool; 2]) -> Vec<ProductCase> {
    let turned = |[rows, columns]: [usize; 2], turn| if turn { [columns, rows] } else { [rows, columns] };
    let [a_transposed, b_transposed] = transposed;
    passes(&format!("matmul {id}"), &[], |graph, _| {
        let a = turned([m * unit, k * unit], a_transposed);
        let b = turned([k * unit, n * unit], b_transposed);
        let a = graph.parameter("a", a, Init::Default)?;
        let b = graph.parameter("b", b, Init::Default)?;
        graph.apply1(Matmul { a_transposed, b_transposed }, &[a, b]).map(drop)
    })
}

/// Passes whose channels and columns are multiples of `unit`; the rest is odd.
pub fn product_cases(unit: usize) -> Vec<ProductCase> {
    let conv = |kernel: usize| Conv2d::new(1, kernel);
    let same = |kernel: [usize; 2]| Conv2d { padding: Padding::Named(Same::Same), ..Conv2d::new(1, kernel) };
    let pair = |h, w| Pair { h, w };
    [
        convolution(unit, "3x3", [2, 2, 7, 5], 1, conv(3).padding(1)),
        convolution(unit, "3x3 wide", [1, 1, 5, 19], 5, conv(3).padding(1).bias(false)),
        convolution(unit, "3x3 unpadded", [3, 1, 6, 7], 2, conv(3)),
        convolution(unit, "3x3 padding 3", [2, 1, 4, 5], 1, conv(3).padding(3)),
        convolution(unit, "3x3 stride 2", [2, 1, 7, 8], 3, conv(3).padding(1).stride(2)),
        convolution(unit, "3x3 stride 3 and 2", [2, 2, 11, 9], 1, conv(3).padding(2).stride(pair(3, 2))),
        convolution(unit, "5x5 dilation 2", [1, 1, 11, 13], 1, conv(5).padding(4).dilation(2)),
        convolution(
            unit,
            "3x3 dilation 3 stride 2",
            [2, 1, 13, 9],
            2,
            conv(3).padding(2).dilation(3).stride(2),
        ),
        convolution(unit, "asymmetric", [2, 1, 9, 8], 1, Conv2d::new(1, [3, 2]).padding(pair(0, 2))),
        convolution(unit, "even kernel", [2, 1, 5, 6], 1, same([4, 2])),
        convolution(
            unit,
            "sides",
            [2, 1, 8, 7],
            1,
            Conv2d { padding: Padding::Sides([0, 2, 3, 1]), ..conv(3).stride(2) },
        ),
        convolution(unit, "7x7 stride 2", [1, 1, 15, 16], 1, conv(7).padding(3).stride(2)),
        convolution(unit, "stride above kernel", [1, 1, 8, 9], 1, conv(2).stride(3)),
        convolution(unit, "one image of one pixel", [1, 1, 1, 1], 1, conv(3).padding(1)),
        convolution(unit, "1x1", [4, 2, 2, 2], 3, conv(1).bias(false)),
        convolution(unit, "1x1 odd", [3, 1, 3, 5], 2, conv(1)),
        convolution(unit, "1x1 stride 2", [2, 2, 5, 7], 1, conv(1).stride(2).bias(false)),
        convolution(unit, "1x1 padding 1", [2, 1, 3, 4], 1, conv(1).padding(1)),
        convolution(unit, "many pixels", [5, 1, 17, 15], 1, conv(3).padding(1).bias(false)),
        convolution(unit, "many filters", [1, 3, 3, 3], 37, conv(3).padding(1)),
        convolution(unit, "several workgroups", [2, 4, 19, 33], 5, conv(3).padding(1)),
        linear(unit, "odd rows", 5, 2, 3),
        linear(unit, "rows of tiles", 2 * unit, 1, 1),
        linear(unit, "deep", 7, 67, 1),
        linear(unit, "many rows", 131, 1, 5),
        linear(unit, "several workgroups", 40 * unit, 9, 19),
        matmul(unit, "plain", [2, 3, 1], [false, false]),
        matmul(unit, "first transposed", [3, 1, 2], [true, false]),
        matmul(unit, "second transposed", [1, 2, 5], [false, true]),
        matmul(unit, "both transposed", [2, 1, 3], [true, true]),
    ]
    .concat()
}

/// The case as a graph of f32 inputs and output, with casts.
fn program(case: &ProductCase) -> Arc<Program> {
    let mut graph = Graph::new(Mode::Train);
    let mut inputs = vec![];
    for (number, desc) in case.inputs.iter().enumerate() {
        let input = graph.input(&format!("input.{number}"), desc.with_dtype(DType::F32));
        inputs.push(match desc.dtype {
            DType::F16 => graph.apply1(Cast { dtype: DType::F16 }, &[input]).expect("casts"),
            _ => input,
        });
    }
    let output = graph.apply1(case.op.clone(), &inputs).expect("cases fit");
    let output = match graph.desc(output).dtype {
        DType::F16 => graph.apply1(Cast { dtype: DType::F32 }, &[output]).expect("casts"),
        _ => output,
    };
    graph.output("output", output);
    Arc::new(Program::new(vec![graph], None, 128 << 20).expect("a small program"))
}

/// Small numbers of f16, all different along each axis of any layout.
fn numbers(desc: &TensorDesc, seed: usize) -> Vec<f32> {
    let number = |i: usize| ((i * 7919 + seed * 104_729) % 1021) as f32 / 512.0 - 1.0;
    (0..desc.numel()).map(|i| half::f16::from_f32(number(i)).to_f32()).collect()
}

/// Runs a case on a device that multiplies cooperatively, and on the CPU path.
pub async fn check_product(gpu: &Arc<Gpu>, case: &ProductCase) -> Result<(), String> {
    let program = program(case);
    let plan = Plan::lower(&program, &program.graphs[0], &gpu.capabilities).map_err(|e| e.to_string())?;
    let used = plan.commands.iter().any(|command| format!("{command:?}").contains("\"cooperative\""));
    if !used {
        return Err("the tier does not take it".to_string());
    }
    let floats: Vec<Vec<f32>> =
        case.inputs.iter().enumerate().map(|(i, desc)| numbers(desc, i + 1)).collect();
    let names: Vec<String> = (0..floats.len()).map(|i| format!("input.{i}")).collect();
    let data: Vec<(&str, Data<'_, f32>)> = names
        .iter()
        .zip(&floats)
        .map(|(name, floats)| (name.as_str(), Data::Real(floats.as_slice())))
        .collect();
    let mut on_cpu = cpu::Session::<f32>::new(program.clone());
    on_cpu.run(0, &data, &Step::default());
    let wanted = on_cpu.output("output").expect("an output").to_vec();
    let session = gpu::Session::new(gpu.clone(), program.clone(), &serially).await;
    let mut session = session.map_err(|error| error.to_string())?.poisoned();
    session.submit(0, &data, &Step::default()).map_err(|error| error.to_string())?;
    let finished = session.collect(0).await.map_err(|error| error.to_string())?.expect("a run is in flight");
    let got = &finished.outputs["output"];
    let largest = wanted.iter().fold(0.0f32, |most, x| if x.abs() > most { x.abs() } else { most });
    for (at, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        // One unit of f16 where the order of a sum turns the rounding, and the error of sums that tensor cores truncate.
        let allowed = wanted.abs() / 1024.0 + largest * 1e-4;
        let difference = (got - wanted).abs();
        if difference.is_nan() || difference > allowed {
            return Err(format!("element {at} is {got}, on the CPU {wanted}"));
        }
    }
    Ok(())
}

/// Compares the device's cooperative products with the CPU path: all cases, and the larger ones again and again, since a
/// race shows only sometimes.
pub async fn prove_products(gpu: &Arc<Gpu>) -> Result<(), String> {
    const REPEATS: usize = 8;
    let Some(device) = gpu.capabilities.cooperative else {
        return Err("the device does not multiply cooperatively".to_string());
    };
    for case in product_cases(device.size as usize) {
        let repeats = if case.id.contains("several") && !device.is_emulated() { REPEATS } else { 1 };
        for _ in 0..repeats {
            check_product(gpu, &case).await.map_err(|error| format!("{}: {error}", case.id))?;
        }
    }
    Ok(())
}
