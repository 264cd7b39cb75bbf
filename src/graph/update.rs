use std::fmt::Debug;

use super::{Graph, Real, Value};
use crate::error::Result;
use crate::tensor::Shape;

/// What changes from step to step without changing the plan: the shaders' uniform block `step`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Seed of the run.
    pub seed: u64,
    /// Steps done before this one.
    pub step: u32,
    /// Index of the batch's first sample in the logical batch (not 0 in later micro-batches).
    pub sample_base: u32,
    /// Which micro-batch of the step this is; set by the session, as are `sample_base` and `micro_batches`.
    pub micro_batch: u32,
    /// In how many micro-batches the step is done; 0 or 1 if in one piece.
    pub micro_batches: u32,
    /// Learning rate.
    pub learning_rate: f32,
    /// Gradients are scaled to this norm if theirs is larger; infinite for never.
    pub clip_norm: f32,
    /// Each element of a gradient is brought within this of zero; infinite for never.
    pub clip_value: f32,
    /// How much of this step's weights goes into their running average (1 - decay).
    pub ema_share: f32,
    /// Numbers that the optimizer derives from the step, such as bias corrections.
    pub optimizer: [f32; 4],
}

impl Default for Step {
    /// The first step of seed 0, without clipping.
    fn default() -> Step {
        Step::FIRST
    }
}

impl Step {
    /// The first step of seed 0, at rate 0 and without clipping.
    pub const FIRST: Step = Step {
        seed: 0,
        step: 0,
        sample_base: 0,
        micro_batch: 0,
        micro_batches: 0,
        learning_rate: 0.0,
        clip_norm: f32::INFINITY,
        clip_value: f32::INFINITY,
        ema_share: 1.0,
        optimizer: [0.0; 4],
    };

    /// Size of the shaders' `struct Step`.
    pub const BYTES: u64 = 64;

    /// The bytes of the shaders' `struct Step`.
    pub fn bytes(&self) -> [u8; Step::BYTES as usize] {
        let mut bytes = [0; Step::BYTES as usize];
        let words = [self.seed as u32, (self.seed >> 32) as u32, self.step, self.sample_base]
            .into_iter()
            .chain([self.learning_rate, self.clip_norm].map(f32::to_bits))
            .chain([self.micro_batch, self.micro_batches])
            .chain(self.optimizer.map(f32::to_bits))
            .chain([self.clip_value, self.ema_share].map(f32::to_bits));
        for (slot, word) in bytes.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// The factor on the gradients of a step in mixed precision, and how it changes: as `torch.amp.GradScaler`.
#[derive(Default, Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LossScale {
    /// The factor, a power of two: scaling costs no digits.
    pub scale: f32,
    /// Steps since it last changed.
    pub good_steps: u32,
}

impl LossScale {
    /// No scaling.
    pub const ONE: LossScale = LossScale { scale: 1.0, good_steps: 0 };
    /// Where a run starts.
    pub const INITIAL: LossScale = LossScale { scale: 65536.0, good_steps: 0 };
    /// Good steps after which the scale doubles.
    pub const GROWTH_INTERVAL: u32 = 2000;
    /// The scale does not grow beyond this.
    pub const LARGEST: f32 = 16_777_216.0;
    /// A run halts when the scale would fall below this: then it is not the scale that overflows.
    pub const SMALLEST: f32 = 1.0;

    /// [`LossScale::ONE`].
    pub fn one() -> LossScale {
        LossScale::ONE
    }

    /// The scale of the next step. `shaders/shared/update.wgsl` is the same rule.
    pub fn after(self, overflow: bool) -> LossScale {
        let good_steps = self.good_steps + 1;
        if overflow {
            return LossScale { scale: self.scale * 0.5, good_steps: 0 };
        }
        if good_steps < LossScale::GROWTH_INTERVAL {
            return LossScale { good_steps, ..self };
        }
        let grown = self.scale * 2.0;
        LossScale { scale: if grown > LossScale::LARGEST { self.scale } else { grown }, good_steps: 0 }
    }
}

/// Settings of the parameters that share them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParameterGroup {
    /// Factor on the learning rate.
    pub rate: f32,
    /// Weight decay.
    pub weight_decay: f32,
}

/// One block of consecutive elements of a page, updated in place on the CPU.
pub struct UpdatePage<'a, T> {
    /// Parameters.
    pub parameters: &'a mut [T],
    /// Their gradients, or what an earlier pass and the optimizer's graph have left in their place.
    pub gradients: &'a mut [T],
    /// The optimizer's state, one array per slot.
    pub slots: Vec<&'a mut [T]>,
    /// Settings of these parameters.
    pub group: ParameterGroup,
    /// What clipping and the loss scale do to the gradients.
    pub clip: Clip<T>,
    /// The step's numbers.
    pub step: &'a Step,
    /// Which of the optimizer's passes this is.
    pub pass: usize,
    /// Whether the optimizer's graph makes the direction of these parameters.
    pub directed: bool,
}

/// What clipping and the loss scale do to gradients.
#[derive(Clone, Copy, Debug)]
pub struct Clip<T> {
    /// Factor on all.
    pub factor: T,
    /// Then each element is brought within this of zero; infinite for never.
    pub value: T,
}

impl<T: Real> Clip<T> {
    /// The gradient to update by.
    pub fn of(&self, gradient: T) -> T {
        let g = self.factor * gradient;
        // NaN passes: it compares as not larger.
        if g > self.value {
            self.value
        } else if g < -self.value {
            -self.value
        } else {
            g
        }
    }
}

impl<T: Real> UpdatePage<'_, T> {
    /// The learning rate of these parameters.
    pub fn rate(&self) -> T {
        T::of(f64::from(self.step.learning_rate)) * T::of(f64::from(self.group.rate))
    }

    /// Their weight decay.
    pub fn decay(&self) -> T {
        T::of(f64::from(self.group.weight_decay))
    }

    /// The numbers that the optimizer derived from the step.
    pub fn numbers(&self) -> [T; 4] {
        self.step.optimizer.map(|number| T::of(f64::from(number)))
    }
}

/// An elementwise pass of an optimizer: an entry point of its shader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The entry point.
    pub entry: &'static str,
    /// The storage buffers that it uses.
    pub binds: &'static [&'static str],
}

/// What a [`GradientRule`] may go by, besides the values.
#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a> {
    /// The parameter's shape.
    pub shape: &'a Shape,
    /// Its settings.
    pub group: ParameterGroup,
    /// Whether it is the network's first tensor of two dimensions or more.
    pub first_matrix: bool,
    /// Whether it is the last of these.
    pub last_matrix: bool,
    /// Whether it belongs to the network's last layer that has parameters.
    pub in_head: bool,
}

/// What makes another gradient of a parameter's gradient where that is not elementwise: norms, products of matrices. The
/// nodes are ordinary operators, run by both executors between the elementwise passes of an update.
pub trait GradientRule: Debug + Send + Sync {
    /// Adds what takes the gradient's place, computed from [`Graph::gradient_of`] and the parameter; nothing where it
    /// stays.
    fn apply(&self, graph: &mut Graph, parameter: Value, about: &Parameter<'_>) -> Result<Option<Value>>;
}

/// An optimizer: elementwise passes over pages of parameters, gradients and state; one, or two around a graph.
///
/// The shader of the same name has an entry point for each pass and binds `parameters`, `gradients`, the slots, `groups`
/// (learning-rate factor, weight decay and whether the graph makes the direction, for each block of 64 elements),
/// `partials` of the gradients' norm, `control` and `step`; all but the slots are in `shaders/shared/update.wgsl`.
pub trait Update: Debug + Send + Sync {
    /// Stem of the shader and of the Rust file.
    fn name(&self) -> &'static str;

    /// State arrays, by PyTorch's names (`momentum_buffer`, `exp_avg`, `exp_avg_sq`).
    fn slots(&self) -> &'static [&'static str];

    /// Fixed numbers in the shader's `params` block.
    fn uniforms(&self) -> Vec<(&'static str, super::Scalar)>;

    /// The passes, if there are several; else there is one, `update`, which uses all buffers. All but the last call `judge`
    /// of `shaders/shared/update.wgsl`, the last one `settle`.
    fn passes(&self) -> &'static [Pass] {
        &[]
    }

    /// What makes the directions of some parameters of what the first pass left in their gradients' place.
    fn direction(&self) -> Option<&dyn GradientRule> {
        None
    }

    /// Numbers that depend on the step, from 1.
    fn step_numbers(&self, _step: u32) -> [f32; 4] {
        [0.0; 4]
    }

    /// Updates one block in f32.
    fn update_f32(&self, page: UpdatePage<'_, f32>);

    /// Updates one block in f64.
    fn update_f64(&self, page: UpdatePage<'_, f64>);
}
