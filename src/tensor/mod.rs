//! Plain host-side facts about tensors: shapes, element types, layouts, host arrays and counter-based random
//! numbers. Knows nothing of graphs or devices.

mod layout;
mod rng;
mod shape;
mod simd;

pub use layout::Layout;
pub use rng::{CounterRng, Purpose, pcg4d, unit_f32};
pub use shape::Shape;
pub(crate) use simd::vectorised;

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float; the CPU reference evaluates it as f64 on request.
    F32,
    /// 16-bit float (IEEE binary16), for memory only: kernels compute in f32; the CPU path rounds to it.
    F16,
    /// 32-bit signed integer: class indices.
    I32,
    /// Byte: pixels as files hold them. Only what the caller supplies has this type; on a device four share a word.
    U8,
}

impl DType {
    /// Whether it is a float.
    pub fn is_real(self) -> bool {
        matches!(self, DType::F32 | DType::F16)
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 | DType::I32 => 4,
            DType::F16 => 2,
            DType::U8 => 1,
        }
    }
}

/// A tensor in host memory, in PyTorch's (row-major, logical) order: what files and public calls speak.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Logical shape, as PyTorch has it.
    pub shape: Shape,
    /// Row-major elements.
    pub data: Vec<f32>,
}

impl HostTensor {
    /// A tensor of `data` in row-major order. The lengths must agree.
    pub fn new(shape: impl Into<Shape>, data: Vec<f32>) -> HostTensor {
        let shape = shape.into();
        assert_eq!(shape.numel(), data.len(), "HostTensor: {shape} needs {} elements", shape.numel());
        HostTensor { shape, data }
    }
}
