use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cpu::{Element, Session};
use crate::graph::{Graph, Mode, Real, Step, TensorDesc, Value};
use crate::ops::cast::{Cast, autocast};
use crate::ops::{self, Sample, fill::Fill, mul::Mul};
use crate::plan::{Data, Program};
use crate::tensor::{CounterRng, DType, Layout, Purpose};

/// Outputs of a case by name, in physical order.
pub type Outputs = BTreeMap<String, Vec<f64>>;

/// A sample's operator in the middle of a graph (its inputs are scaled leaves) with gradients from an upstream gradient
/// that is not one.
pub struct Case {
    /// The program with that one graph.
    pub program: Arc<Program>,
    /// What the program is run on.
    pub inputs: Vec<CaseInput>,
}

/// An input of a case; its elements, in physical order, are in the field of its type.
#[derive(Clone, Debug)]
pub struct CaseInput {
    /// Name in the graph.
    pub name: String,
    /// Shape and type.
    pub desc: TensorDesc,
    /// Floats.
    pub floats: Vec<f32>,
    /// Class indices and other whole numbers.
    pub ints: Vec<i32>,
    /// Bytes.
    pub bytes: Vec<u8>,
}

/// The step that samples run as; dropout draws from it.
pub const STEP: Step = Step { seed: 7, step: 3, micro_batches: 1, ..Step::FIRST };

impl Case {
    /// Forward and backward of a sample.
    pub fn new(sample: &Sample) -> Result<Case, String> {
        Case::build(sample, sample.differentiable).map_err(|error| format!("{sample:?}: {error}"))
    }

    /// Only the forward pass.
    pub fn forward(sample: &Sample) -> Result<Case, String> {
        Case::build(sample, false).map_err(|error| format!("{sample:?}: {error}"))
    }

    fn build(sample: &Sample, backward: bool) -> crate::Result<Case> {
        let graph = Graph::new(Mode::Train);
        let mut graph = if sample.half { autocast(graph) } else { graph };
        let mut case = vec![];
        let (mut values, mut leaves) = (vec![], vec![]);
        for (number, input) in sample.inputs.iter().enumerate() {
            let name = format!("input.{number}");
            let leaf = graph.input(&name, input.desc());
            let layout = Layout::of(&input.shape);
            let floats = to_physical(&layout, &input.floats(&sample.id, number));
            let (ints, bytes) = (input.ints(&sample.id, number), input.bytes(&sample.id, number));
            case.push(CaseInput { name, desc: input.desc(), floats, ints, bytes });
            if input.differentiable() {
                let scale = graph.apply1(Fill { shape: [].into(), value: 1.25 }, &[])?;
                values.push(graph.apply1(Mul::default(), &[leaf, scale])?);
                leaves.push((number, leaf));
            } else {
                values.push(leaf);
            }
        }
        for value in values.iter_mut().filter(|_| sample.half) {
            if graph.desc(*value).allows_half() {
                *value = graph.apply1(Cast { dtype: DType::F16 }, &[*value])?;
            }
        }
        let mut outputs = graph.scope("sample", |graph| (sample.build)(graph, &values))?;
        for output in &mut outputs {
            if graph.desc(*output).dtype == DType::F16 {
                *output = graph.apply1(Cast { dtype: DType::F32 }, &[*output])?;
            }
        }
        for (number, output) in outputs.iter().enumerate() {
            if graph.desc(*output).dtype == DType::F32 {
                graph.output(&format!("output.{number}"), *output);
            }
        }
        if backward {
            case.push(add_gradients(&mut graph, sample, outputs[0], &leaves)?);
        }
        let program = Arc::new(Program::new(vec![graph], None, 128 << 20)?);
        Ok(Case { program, inputs: case })
    }

    /// The same case with a NaN as the first element of its first input.
    pub fn with_nan(mut self) -> Case {
        if let Some(first) = self.inputs.first_mut().and_then(|input| input.floats.first_mut()) {
            *first = f32::NAN;
        }
        self
    }

    /// The inputs' floats in the type of a session.
    pub fn floats<T: Real>(&self) -> Vec<Vec<T>> {
        let convert = |floats: &Vec<f32>| floats.iter().map(|x| T::of(f64::from(*x))).collect();
        self.inputs.iter().map(|input| convert(&input.floats)).collect()
    }

    /// The inputs as a session takes them, with the floats of [`Case::floats`].
    pub fn data<'a, T>(&'a self, floats: &'a [Vec<T>]) -> Vec<(&'a str, Data<'a, T>)> {
        let inputs = self.inputs.iter().zip(floats);
        inputs
            .map(|(input, floats)| match input.desc.dtype {
                DType::F32 | DType::F16 => (input.name.as_str(), Data::Real(floats.as_slice())),
                DType::I32 => (input.name.as_str(), Data::Int(&input.ints)),
                DType::U8 => (input.name.as_str(), Data::Bytes(&input.bytes)),
            })
            .collect()
    }

    /// Runs on the CPU in memory poisoned with NaN.
    pub fn run_cpu<T: Element>(&self) -> Outputs {
        let mut session = Session::<T>::new(self.program.clone()).poisoned();
        session.run(0, &self.data(&self.floats::<T>()), &STEP);
        let names = self.program.graphs[0].outputs().keys();
        names
            .map(|name| (name.clone(), session.output(name).unwrap_or(&[]).iter().map(|x| x.f64()).collect()))
            .collect()
    }
}

fn add_gradients(
    graph: &mut Graph,
    sample: &Sample,
    output: Value,
    leaves: &[(usize, Value)],
) -> crate::Result<CaseInput> {
    use rand_distr::{Distribution, StandardNormal};
    let desc = graph.desc(output).clone();
    let upstream = graph.input("upstream", desc.clone());
    let rng = CounterRng::new(1, Purpose::Sample, &sample.id, u32::MAX);
    let data: Vec<f32> = StandardNormal.sample_iter(rng).take(desc.numel()).collect();
    let wrt: Vec<Value> = leaves.iter().map(|(_, leaf)| *leaf).collect();
    let grads = ops::gradients_of(graph, &[(output, upstream)], &wrt)?;
    for ((number, _), grad) in leaves.iter().zip(grads) {
        if let Some(grad) = grad {
            graph.output(&format!("grad.{number}"), grad);
        }
    }
    Ok(CaseInput { name: "upstream".to_string(), desc, floats: data, ints: vec![], bytes: vec![] })
}

/// The largest magnitude.
pub fn max_abs(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, |max, value| if value.abs() > max { value.abs() } else { max })
}

fn to_physical(layout: &Layout, floats: &[f32]) -> Vec<f32> {
    if floats.is_empty() { vec![] } else { layout.to_physical(floats) }
}
