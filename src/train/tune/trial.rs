//! One node of a graph by itself, on random data.

use std::sync::Arc;
use std::time::Instant;

use rand::RngExt;

use super::super::device::in_parallel;
use crate::error::Result;
use crate::gpu::{Gpu, Session};
use crate::graph::{Capabilities, Graph, NodeKind, Step, TensorDesc};
use crate::ops::cast::Cast;
use crate::plan::{Data, Program};
use crate::tensor::{CounterRng, DType, Purpose};

/// Runs that are timed; the fastest counts, since what else a machine does only ever adds time.
const RUNS: usize = 3;

/// Numbers that are drawn; larger tensors repeat them. A prime, so that rows do not repeat.
const DRAWN: usize = 65_537;

/// How far an inexact configuration may be from the portable one, of the largest magnitude: a few units of f16.
const TOLERANCE: f32 = 4e-3;

/// A program of one node whose inputs are given.
pub(super) struct Trial {
    /// The node and its operator.
    pub(super) label: String,
    program: Arc<Program>,
    inputs: Vec<(String, Vec<f32>)>,
}

/// What a run gave.
pub(super) struct Run {
    /// The node's outputs.
    pub(super) outputs: Vec<Vec<f32>>,
    /// Milliseconds of its dispatches.
    pub(super) ms: f64,
}

impl Trial {
    /// A trial of one of a graph's nodes.
    pub(super) fn new(graph: &Graph, node: usize, gpu: &Gpu) -> Result<Trial> {
        let node = &graph.nodes()[node];
        let NodeKind::Op(op) = &node.kind else { unreachable!("only operators choose configurations") };
        let mut alone = Graph::new(graph.mode());
        let (mut values, mut inputs) = (vec![], vec![]);
        for (number, value) in node.inputs.iter().enumerate() {
            let (name, desc) = (format!("input.{number}"), graph.desc(*value));
            let given = alone.input(&name, TensorDesc::f32(desc.shape.clone()));
            values.push(match desc.dtype {
                DType::F32 => given,
                dtype => alone.apply1(Cast { dtype }, &[given])?,
            });
            inputs.push((name, random(number, desc.numel())));
        }
        for (number, output) in
            alone.apply_named(node.name.clone(), op.clone(), &values)?.into_iter().enumerate()
        {
            let output = match alone.desc(output).dtype {
                DType::F16 => alone.apply1(Cast { dtype: DType::F32 }, &[output])?,
                _ => output,
            };
            alone.output(&format!("output.{number}"), output);
        }
        let page = gpu.capabilities.max_storage_binding.min(gpu.capabilities.max_buffer);
        let program = Arc::new(Program::new(vec![alone], None, page)?);
        Ok(Trial { label: node.label(), program, inputs })
    }

    /// Runs the node with the configuration that the capabilities lead to.
    pub(super) async fn run(&self, gpu: &Arc<Gpu>, capabilities: &Capabilities) -> Result<Run> {
        let program = self.program.clone();
        let mut session =
            Session::with_capabilities(gpu.clone(), program, capabilities, &in_parallel).await?;
        let step = Step::default();
        let inputs: Vec<(&str, Data<'_, f32>)> =
            self.inputs.iter().map(|(name, data)| (name.as_str(), Data::Real(data.as_slice()))).collect();
        session.submit(0, &inputs, &step)?;
        let mut outputs: Vec<(String, Vec<f32>)> =
            session.collect(0).await?.into_iter().flat_map(|finished| finished.outputs).collect();
        outputs.sort_by(|a, b| a.0.cmp(&b.0));
        let clock = Instant::now();
        let mut ms = f64::INFINITY;
        for _ in 0..RUNS {
            let kernels = session.profile(0, &inputs, &step, &|| clock.elapsed().as_secs_f64()).await?;
            let own = kernels.iter().filter(|kernel| kernel.label == self.label);
            let took = own.map(|kernel| kernel.seconds * 1e3).sum::<f64>();
            ms = if took < ms { took } else { ms };
        }
        Ok(Run { outputs: outputs.into_iter().map(|(_, values)| values).collect(), ms })
    }
}

/// What tells the outputs of a configuration from those of the portable one, if anything that matters does.
pub(super) fn difference(reference: &[Vec<f32>], got: &[Vec<f32>], exact: bool) -> Option<String> {
    let pairs = || reference.iter().flatten().zip(got.iter().flatten());
    let same_bits = pairs().all(|(a, b)| a.to_bits() == b.to_bits());
    if same_bits {
        return None;
    }
    let largest =
        reference.iter().flatten().fold(0.0, |max: f32, x| if x.abs() > max { x.abs() } else { max });
    let worst = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, |max: f32, x| if x > max { x } else { max });
    let finite = pairs().all(|(a, b)| a.is_finite() == b.is_finite());
    if !exact && finite && worst <= TOLERANCE * largest {
        return None;
    }
    Some(format!("differs from the portable kernel by up to {worst:e}, of values up to {largest:e}"))
}

/// Floating-point operations of a node.
pub(super) fn flops(graph: &Graph, node: usize) -> u64 {
    let node = &graph.nodes()[node];
    let inputs: Vec<TensorDesc> = node.inputs.iter().map(|value| graph.desc(*value).clone()).collect();
    match &node.kind {
        NodeKind::Op(op) => op.flops(&inputs, &node.outputs),
        _ => 0,
    }
}

/// Numbers in -1..1.
fn random(number: usize, len: usize) -> Vec<f32> {
    let mut rng = CounterRng::new(0, Purpose::Sample, "tune", number as u32);
    let drawn: Vec<f32> = (0..DRAWN.min(len)).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect();
    drawn.iter().copied().cycle().take(len).collect()
}
