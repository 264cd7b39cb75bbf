use std::fmt;
use std::sync::Arc;

use rand_distr::{Distribution, StandardNormal, StandardUniform, Uniform};

use super::super::cast::Cast;
use crate::augment::{Augmentation, MIX_WORDS, Mixing};
use crate::error::Result;
use crate::graph::{Graph, TensorDesc, Value};
use crate::tensor::{CounterRng, DType, Purpose, Shape};

/// How the elements of a sample's input are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Draw {
    /// Standard normal; its gradient is checked.
    Normal,
    /// Multiples of 0.1 in random order, shifted off zero: no two are equal, so that no maximum has a tie and no kink
    /// is near; its gradient is checked.
    Distinct,
    /// Uniform in 0.5..1.5, such as variances; its gradient is checked.
    Positive,
    /// Standard normal without a gradient, such as the targets of a regression.
    Constant,
    /// Uniform in 0.5..1.5 without a gradient, such as running variances.
    ConstantPositive,
    /// Rows of probabilities, without a gradient.
    Probabilities,
    /// Class indices below the bound; one in five is -100 (`ignore_index`) if the flag is set.
    Classes(usize, bool),
    /// Bytes.
    Bytes,
    /// What is done to the first samples of a data set in an epoch: from images of the first height and width to those of
    /// the second.
    Augmentation(Augmentation, [usize; 2], [usize; 2]),
    /// How the samples of a batch of images of this height and width are mixed, each in its own way.
    Mixing(Mixing, [usize; 2]),
}

/// One input of a sample.
#[derive(Clone, Debug)]
pub struct SampleInput {
    /// Logical shape.
    pub shape: Shape,
    /// How its elements are drawn.
    pub draw: Draw,
}

type Build = Arc<dyn Fn(&mut Graph, &[Value]) -> Result<Vec<Value>> + Send + Sync>;

/// A small case of an operator: gradient check, comparison of devices and NaN check all run on it.
#[derive(Clone)]
pub struct Sample {
    /// `conv2d/stride-2`.
    pub id: String,
    /// What the operator is applied to.
    pub inputs: Vec<SampleInput>,
    /// Applies it; all returned values are compared, the first one's gradients are checked.
    pub build: Build,
    /// Whether its gradients with respect to differentiable inputs are checked.
    pub differentiable: bool,
    /// Whether a NaN in its first input must reach the output.
    pub passes_nan: bool,
    /// Whether its graph is one of mixed precision, with f16 inputs where their shapes allow that.
    pub half: bool,
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over", self.id)?;
        self.inputs.iter().try_for_each(|input| write!(f, " {} {:?}", input.shape, input.draw))
    }
}

impl Sample {
    /// A sample of inputs `(shape, draw)` and the function that applies the operator to them.
    pub fn new(
        id: impl Into<String>,
        inputs: Vec<(Vec<usize>, Draw)>,
        build: impl Fn(&mut Graph, &[Value]) -> Result<Vec<Value>> + Send + Sync + 'static,
    ) -> Sample {
        let inputs =
            inputs.into_iter().map(|(shape, draw)| SampleInput { shape: shape.into(), draw }).collect();
        Sample {
            id: id.into(),
            inputs,
            build: Arc::new(build),
            differentiable: true,
            passes_nan: true,
            half: false,
        }
    }

    /// The same in mixed precision.
    pub fn in_half(&self) -> Sample {
        Sample { id: format!("{}/f16", self.id), half: true, ..self.clone() }
    }

    /// The same with some of its inputs cast to f16 first. Central differences cannot be taken through that.
    pub(crate) fn with_half<const INPUTS: usize>(mut self, half: [usize; INPUTS]) -> Sample {
        let build = self.build.clone();
        self.build = Arc::new(move |graph, values| {
            let mut values = values.to_vec();
            for i in half {
                values[i] = graph.apply1(Cast { dtype: DType::F16 }, &[values[i]])?;
            }
            build(graph, &values)
        });
        self
    }

    /// The same without gradient checks.
    pub fn without_gradient(mut self) -> Sample {
        self.differentiable = false;
        self
    }

    /// The same for operators whose output need not depend on every element of the first input.
    pub fn may_drop_nan(mut self) -> Sample {
        self.passes_nan = false;
        self
    }
}

impl SampleInput {
    /// Shape and element type.
    pub fn desc(&self) -> TensorDesc {
        let dtype = match self.draw {
            Draw::Classes(..) | Draw::Augmentation(..) => DType::I32,
            Draw::Bytes => DType::U8,
            _ => DType::F32,
        };
        TensorDesc { shape: self.shape.clone(), dtype }
    }

    /// Whether gradients with respect to it are checked.
    pub fn differentiable(&self) -> bool {
        matches!(self.draw, Draw::Normal | Draw::Distinct | Draw::Positive)
    }

    /// Its elements, drawn by the sample's name and the input's number; empty for whole numbers.
    pub fn floats(&self, id: &str, number: usize) -> Vec<f32> {
        let mut rng = CounterRng::new(0, Purpose::Sample, id, number as u32);
        let count = self.shape.numel();
        match self.draw {
            Draw::Normal | Draw::Constant => StandardNormal.sample_iter(&mut rng).take(count).collect(),
            Draw::Positive | Draw::ConstantPositive => uniform(0.5, 1.5, count, &mut rng),
            Draw::Distinct => {
                use rand::seq::SliceRandom;
                let mut values: Vec<f32> =
                    (0..count).map(|i| (i as f32 - (count / 2) as f32) * 0.1 + 0.05).collect();
                values.shuffle(&mut rng);
                values
            }
            Draw::Mixing(mixing, size) => {
                let rows = 0..(count / MIX_WORDS) as u32;
                rows.flat_map(|row| mixing.draw((5, number as u32, row), size)).collect()
            }
            Draw::Probabilities => {
                let mut values = uniform(0.1, 1.0, count, &mut rng);
                for row in values.chunks_mut(self.shape.last().copied().unwrap_or(1)) {
                    let sum: f32 = row.iter().sum();
                    row.iter_mut().for_each(|value| *value /= sum);
                }
                values
            }
            Draw::Classes(..) | Draw::Bytes | Draw::Augmentation(..) => vec![],
        }
    }

    /// Its bytes; empty for all else.
    pub fn bytes(&self, id: &str, number: usize) -> Vec<u8> {
        let count = if self.draw == Draw::Bytes { self.shape.numel() } else { 0 };
        let rng = CounterRng::new(0, Purpose::Sample, id, number as u32);
        StandardUniform.sample_iter(rng).take(count).collect()
    }

    /// Its class indices or parameters of augmentation; empty for all else.
    pub fn ints(&self, id: &str, number: usize) -> Vec<i32> {
        if let Draw::Augmentation(augmentation, stored, wanted) = self.draw {
            let rows = 0..self.shape.first().copied().unwrap_or(0) as u32;
            return rows.flat_map(|row| augmentation.draw((5, 1, row), stored, wanted).0).collect();
        }
        let Draw::Classes(bound, ignored) = self.draw else { return vec![] };
        let mut rng = CounterRng::new(0, Purpose::Sample, id, number as u32);
        let values = uniform(0.0, 1.0, self.shape.numel(), &mut rng).into_iter().enumerate();
        let class = |value: f32| ((value * bound as f32) as i32).min(bound as i32 - 1);
        values.map(|(i, value)| if ignored && i % 5 == 3 { -100 } else { class(value) }).collect()
    }
}

fn uniform(low: f32, high: f32, count: usize, rng: &mut CounterRng) -> Vec<f32> {
    let distribution = Uniform::new(low, high).expect("low < high");
    distribution.sample_iter(rng).take(count).collect()
}
