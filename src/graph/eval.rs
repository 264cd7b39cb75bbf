use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{AddAssign, DivAssign, MulAssign, SubAssign};

use bytemuck::Pod;
use num_traits::{Float, FromPrimitive};

use super::{Lanes, Step, TensorDesc};
use crate::tensor::Shape;

/// The element type of a CPU evaluation: f32 for use, f64 for reference.
pub trait Real:
    Float
    + Lanes
    + FromPrimitive
    + Pod
    + Send
    + Sync
    + Debug
    + Display
    + Sum
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
{
    /// The number nearest to `value`.
    fn of(value: f64) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// As f64.
    fn f64(self) -> f64;
}

impl Real for f32 {
    fn of(value: f64) -> f32 {
        value as f32
    }
    fn erf(self) -> f32 {
        libm::erff(self)
    }
    fn f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn of(value: f64) -> f64 {
        value
    }
    fn erf(self) -> f64 {
        libm::erf(self)
    }
    fn f64(self) -> f64 {
        self
    }
}

/// An input of a CPU kernel: elements in the physical layout of its shape.
#[derive(Clone, Copy)]
pub struct View<'a, T> {
    /// Shape and type.
    pub desc: &'a TensorDesc,
    /// The elements, if they are floats.
    pub real: &'a [T],
    /// The elements, if they are class indices.
    pub int: &'a [i32],
    /// The elements, if they are bytes.
    pub bytes: &'a [u8],
}

/// An output of a CPU kernel. Its content is unspecified: the kernel writes every element.
pub struct ViewMut<'a, T> {
    /// Shape and type.
    pub desc: &'a TensorDesc,
    /// The elements, if they are floats.
    pub real: &'a mut [T],
    /// The elements, if they are integers.
    pub int: &'a mut [i32],
}

impl<T> View<'_, T> {
    /// Logical shape.
    pub fn shape(&self) -> &Shape {
        &self.desc.shape
    }

    /// The four dimensions of an image batch or filter; the operator's shape rule has checked that there are four.
    pub fn dims4(&self) -> [usize; 4] {
        self.desc.shape.as_4d().expect("shape rules have checked the rank")
    }
}

impl<T> ViewMut<'_, T> {
    /// Logical shape.
    pub fn shape(&self) -> &Shape {
        &self.desc.shape
    }

    /// The four dimensions of an image batch or filter; the operator's shape rule has checked that there are four.
    pub fn dims4(&self) -> [usize; 4] {
        self.desc.shape.as_4d().expect("shape rules have checked the rank")
    }
}

/// What a CPU kernel gets besides its tensors.
pub struct Context<'a, T> {
    /// Threads and matrix products.
    pub host: &'a dyn Host<T>,
    /// Seed, step number and the like.
    pub step: &'a Step,
    /// The node's name; keys its random numbers.
    pub name: &'a str,
    /// The factor on the gradients of this step.
    pub loss_scale: f32,
}

/// Columns of `b` that lie side by side in a [`Gemm`].
pub const PANEL: usize = 32;

/// A product of matrices, or a sum of products: `c = sum over runs of a b`, or `c +=` the same. Strides and places are in
/// elements.
///
/// Run `[i, j]` multiplies the `a` that begins at element `i` with the `b` that begins at element `j`; all have the same
/// sizes and strides. The columns of `b` lie in panels of [`PANEL`], those of a panel side by side: a row-major matrix is
/// one whose panels are `PANEL` apart. Terms are added in their order, so an element of `c` does not depend on what else
/// is computed in the call.
pub struct Gemm<'a, T> {
    /// Rows of `a` and `c`.
    pub m: usize,
    /// Columns of `b` and `c`.
    pub n: usize,
    /// Columns of `a` and rows of `b`, in each run.
    pub k: usize,
    /// Where `a` and `b` begin in each run.
    pub runs: &'a [[usize; 2]],
    /// Left factors.
    pub a: &'a [T],
    /// Their strides: rows, columns.
    pub a_strides: [usize; 2],
    /// Right factors.
    pub b: &'a [T],
    /// Their strides: rows, panels.
    pub b_strides: [usize; 2],
    /// The sum of products, row-major.
    pub c: &'a mut [T],
    /// From one row of `c` to the next.
    pub c_row: usize,
    /// Whether to add to what is in `c`.
    pub accumulate: bool,
}

/// A piece of work on one chunk: its index and its elements.
pub type ChunkFn<'f, T> = &'f (dyn Fn(usize, &mut [T]) + Sync);
/// A piece of work on chunks of two arrays.
pub type ChunkPairFn<'f, T> = &'f (dyn Fn(usize, &mut [T], &mut [T]) + Sync);

/// Threads and matrix products, supplied by the CPU executor: operators themselves use no threads.
///
/// Chunk sizes follow from shapes only where results depend on them, so results do not depend on the number of threads.
pub trait Host<T>: Sync {
    /// How many threads there are, for cutting work whose results do not depend on the cut.
    fn threads(&self) -> usize;

    /// One sum of matrix products on the calling thread.
    fn gemm(&self, gemm: Gemm<'_, T>);

    /// Calls `work` with each chunk of `chunk` elements (the last may be shorter), in parallel.
    fn for_each_chunk(&self, data: &mut [T], chunk: usize, work: ChunkFn<'_, T>);

    /// Calls `work` with the chunks of equal index of two arrays, in parallel. Both must have as many chunks.
    fn for_each_chunk_pair(
        &self,
        first: (&mut [T], usize),
        second: (&mut [T], usize),
        work: ChunkPairFn<'_, T>,
    );

    /// Calls `work` with `len` elements of reusable memory of unspecified content.
    fn with_scratch(&self, len: usize, work: &mut dyn FnMut(&mut [T]));
}
