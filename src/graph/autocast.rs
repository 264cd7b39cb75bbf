//! Mixed precision: which inputs and outputs of an operator become f16, decided when it is applied to a graph.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Graph, NodeKind, Op, TensorDesc, Value};
use crate::error::Result;
use crate::tensor::DType;

/// Makes the operator that casts to an element type.
pub type CastOp = fn(DType) -> Arc<dyn Op>;

/// Casts by value and type, each made once; a cast back gives the value that was cast.
#[derive(Clone, Debug)]
pub(super) struct Autocast {
    cast: CastOp,
    casts: HashMap<(Value, DType), Value>,
}

impl Autocast {
    /// The same, knowing of no casts.
    pub(super) fn emptied(&self) -> Autocast {
        Autocast { cast: self.cast, casts: HashMap::new() }
    }

    /// The same for a graph in which the values have become others, or are gone.
    pub(super) fn moved(&self, new_of: &HashMap<Value, Value>) -> Autocast {
        let casts = self.casts.iter();
        let moved = casts
            .filter_map(|((value, dtype), cast)| Some(((*new_of.get(value)?, *dtype), *new_of.get(cast)?)));
        Autocast { cast: self.cast, casts: moved.collect() }
    }
}

impl Graph {
    /// The same graph with f16 activations and gradients, as in PyTorch's autocast: from now on operators that
    /// [make f16](Op::makes_half) are given f16 inputs, others take what arrives, and what takes only f32 is given that.
    /// Parameters stay f32 and are cast for use.
    pub fn autocast(mut self, cast: CastOp) -> Graph {
        self.autocast = Some(Autocast { cast, casts: HashMap::new() });
        self
    }

    /// Whether values may be f16.
    pub fn is_half(&self) -> bool {
        self.autocast.is_some()
    }

    /// The value as f32.
    pub fn as_f32(&mut self, value: Value) -> Result<Value> {
        self.cast_to(value, DType::F32)
    }

    /// Parameters that are read as f16, each with its cast, in order.
    pub fn half_parameters(&self) -> Vec<(Value, Value)> {
        let casts = self.autocast.iter().flat_map(|autocast| &autocast.casts);
        let halves = casts.filter(|((value, dtype), _)| {
            *dtype == DType::F16 && matches!(self.nodes[value.node].kind, NodeKind::Parameter(_))
        });
        let mut halves: Vec<_> = halves.map(|((value, _), half)| (*value, *half)).collect();
        halves.sort();
        halves
    }

    /// The inputs as an operator takes them. Those that may be f16 are of one type, because kernels read them by one
    /// snippet: f16 if all their shapes allow it and the operator makes f16 or all of them are f16 already, else f32.
    pub(super) fn cast_inputs(&mut self, op: &dyn Op, inputs: &[Value]) -> Result<Vec<Value>> {
        if self.autocast.is_none() {
            return Ok(inputs.to_vec());
        }
        let descs: Vec<TensorDesc> = inputs.iter().map(|value| self.desc(*value).clone()).collect();
        let flexible: Vec<bool> = descs
            .iter()
            .enumerate()
            .map(|(i, desc)| desc.dtype.is_real() && op.takes_half(i, &descs))
            .collect();
        let all = |test: fn(&TensorDesc) -> bool| {
            descs.iter().zip(&flexible).all(|(desc, flexible)| !flexible || test(desc))
        };
        let half = all(|desc| desc.dtype == DType::F16) || op.makes_half(0) && all(TensorDesc::allows_half);
        let dtypes = descs.iter().zip(&flexible).map(|(desc, flexible)| match desc.dtype {
            DType::F32 | DType::F16 if half && *flexible => DType::F16,
            DType::F16 => DType::F32,
            other => other,
        });
        inputs.iter().zip(dtypes).map(|(value, dtype)| self.cast_to(*value, dtype)).collect()
    }

    /// The outputs that the operator can write as f16 whatever its inputs are, as f16 where the shape allows it.
    pub(super) fn cast_outputs(&self, op: &dyn Op, mut outputs: Vec<TensorDesc>) -> Vec<TensorDesc> {
        if self.is_half() {
            for (i, desc) in outputs.iter_mut().enumerate().filter(|(_, desc)| desc.allows_half()) {
                desc.dtype = if op.makes_half(i) { DType::F16 } else { desc.dtype };
            }
        }
        outputs
    }

    fn cast_to(&mut self, value: Value, dtype: DType) -> Result<Value> {
        let from = self.desc(value).dtype;
        let Some(autocast) = self.autocast.as_ref().filter(|_| from != dtype) else { return Ok(value) };
        if let Some(known) = autocast.casts.get(&(value, dtype)) {
            return Ok(*known);
        }
        let (op, name) = ((autocast.cast)(dtype), self.nodes[value.node].name.clone());
        let cast = self.apply_named(name, op, &[value])?[0];
        if let Some(autocast) = &mut self.autocast {
            autocast.casts.extend([((value, dtype), cast), ((cast, from), value)]);
        }
        Ok(cast)
    }
}
