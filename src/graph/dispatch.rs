use std::collections::HashMap;
use std::ops::Range;

use super::{Capabilities, Choice, Configuration, TensorDesc, TuningKey};
use crate::tensor::DType;

/// Invocations of a workgroup in kernels that do one element each; appended to every shader as `WORKGROUP_SIZE`.
pub(crate) const WORKGROUP_SIZE: u32 = 64;

/// Which buffer of a node a binding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The node's input.
    Input(usize),
    /// The node's output.
    Output(usize),
    /// A part of an input that the device cannot bind as a whole: which input, which part.
    InputPart(usize, usize),
    /// A part of such an output.
    OutputPart(usize, usize),
    /// Memory that lives as long as the node's dispatches.
    Scratch(usize),
    /// The words that steer updates and report the step (`plan::Control`).
    Control,
}

/// How a dispatch uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
}

/// A number in a dispatch's uniform block or in an appended `const` line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// `u32`.
    U32(u32),
    /// `i32`.
    I32(i32),
    /// `f32`.
    F32(f32),
    /// `bool`; in uniforms a `u32` of 0 or 1.
    Bool(bool),
}

impl From<u32> for Scalar {
    fn from(value: u32) -> Scalar {
        Scalar::U32(value)
    }
}

impl From<usize> for Scalar {
    fn from(value: usize) -> Scalar {
        Scalar::U32(u32::try_from(value).expect("sizes of tensors fit in u32: Graph::apply checks them"))
    }
}

impl From<i32> for Scalar {
    fn from(value: i32) -> Scalar {
        Scalar::I32(value)
    }
}

impl From<f32> for Scalar {
    fn from(value: f32) -> Scalar {
        Scalar::F32(value)
    }
}

impl From<bool> for Scalar {
    fn from(value: bool) -> Scalar {
        Scalar::Bool(value)
    }
}

/// A buffer bound by the name of the shader's variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding<B> {
    /// The variable in the shader.
    pub name: &'static str,
    /// The buffer.
    pub buffer: B,
    /// How the dispatch uses it.
    pub access: Access,
}

/// What makes one compiled variant of a shader file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// Lines appended to the shader: `const NAME: type = value;`.
    pub constants: Vec<(&'static str, Scalar)>,
    /// Files of `shaders/shared/` appended to the shader, by stem: the element types of its buffers, or the tier.
    pub snippets: Vec<&'static str>,
}

/// One dispatch as plain data; `B` says how buffers are named (a node's [`Slot`], or a place in the plan).
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch<B> {
    /// Stem of the shader file.
    pub shader: &'static str,
    /// Entry point.
    pub entry: &'static str,
    /// What the shader is compiled with.
    pub variant: Variant,
    /// Storage buffers by name.
    pub bindings: Vec<Binding<B>>,
    /// Members of the shader's `params` uniform block by name.
    pub uniforms: Vec<(&'static str, Scalar)>,
    /// Workgroups in x, y, z.
    pub workgroups: [u32; 3],
    /// Floating-point operations, for profiles; lowering gives a node's to the dispatch that moves most.
    pub flops: u64,
}

impl Dispatch<Slot> {
    /// The same dispatch with its buffers placed.
    pub fn placed<B>(self, place: impl Fn(Slot) -> B) -> Dispatch<B> {
        let Dispatch { shader, entry, variant, bindings, uniforms, workgroups, flops } = self;
        let bindings = bindings
            .into_iter()
            .map(|Binding { name, buffer, access }| Binding { name, buffer: place(buffer), access })
            .collect();
        Dispatch { shader, entry, variant, bindings, uniforms, workgroups, flops }
    }
}

/// Collects the dispatches of one node.
pub struct Lower<'a> {
    /// Shapes of the inputs.
    pub inputs: &'a [TensorDesc],
    /// Shapes of the outputs.
    pub outputs: &'a [TensorDesc],
    /// The device.
    pub capabilities: &'a Capabilities,
    /// The node's name; keys its random numbers.
    pub name: &'a str,
    split: HashMap<Slot, Vec<Range<usize>>>,
    dispatches: Vec<Dispatch<Slot>>,
    scratch: Vec<usize>,
    choices: Vec<Choice>,
}

/// Consecutive indices along the first dimension of a tensor, and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What to bind.
    pub slot: Slot,
    /// The indices; the first is the first of what is bound.
    pub rows: Range<usize>,
}

/// What a node is lowered to.
#[derive(Debug)]
pub struct Lowered {
    /// Its dispatches.
    pub dispatches: Vec<Dispatch<Slot>>,
    /// Sizes of its scratch buffers, in 4-byte numbers.
    pub scratch: Vec<usize>,
    /// Choices among configurations of kernels.
    pub choices: Vec<Choice>,
}

impl<'a> Lower<'a> {
    /// Starts with no dispatches.
    pub fn new(
        name: &'a str,
        inputs: &'a [TensorDesc],
        outputs: &'a [TensorDesc],
        capabilities: &'a Capabilities,
    ) -> Lower<'a> {
        Lower {
            inputs,
            outputs,
            capabilities,
            name,
            split: HashMap::new(),
            dispatches: vec![],
            scratch: vec![],
            choices: vec![],
        }
    }

    /// Says which inputs and outputs lie in parts, and which indices of the first dimension are in which. An operator that
    /// takes them asks for their [parts](Lower::parts); all others bind what they know as a whole, and are refused.
    pub fn in_parts(self, split: HashMap<Slot, Vec<Range<usize>>>) -> Lower<'a> {
        Lower { split, ..self }
    }

    /// The parts of an input or output: one, unless it is larger than what the device binds at once.
    pub fn parts(&self, slot: Slot) -> Vec<Part> {
        let (whole, part_of): (_, fn(usize, usize) -> Slot) = match slot {
            Slot::Input(i) => ((i, &self.inputs[i]), Slot::InputPart),
            Slot::Output(i) => ((i, &self.outputs[i]), Slot::OutputPart),
            _ => unreachable!("only inputs and outputs lie in parts"),
        };
        let (index, desc) = whole;
        let whole = || vec![Part { slot, rows: 0..desc.shape.first().copied().unwrap_or(1) }];
        self.split.get(&slot).map_or_else(whole, |ranges| {
            let parts = ranges.iter().enumerate();
            parts.map(|(part, rows)| Part { slot: part_of(index, part), rows: rows.clone() }).collect()
        })
    }

    /// Whether nothing lies in parts.
    pub fn is_whole(&self) -> bool {
        self.split.is_empty()
    }

    /// Reserves memory for `elements` 4-byte numbers between this node's dispatches.
    pub fn scratch(&mut self, elements: usize) -> Slot {
        self.scratch.push(elements.max(1));
        Slot::Scratch(self.scratch.len() - 1)
    }

    /// Begins a dispatch of an entry point; end it with [`DispatchBuilder::over`] or [`DispatchBuilder::workgroups`].
    pub fn dispatch(&mut self, shader: &'static str, entry: &'static str) -> DispatchBuilder<'_, 'a> {
        let dispatch = Dispatch {
            shader,
            entry,
            variant: Variant::default(),
            bindings: vec![],
            uniforms: vec![],
            workgroups: [1, 1, 1],
            flops: 0,
        };
        DispatchBuilder { lower: self, dispatch }
    }

    /// Chooses a configuration of a kernel: the device's tuned one if there is one, else the first. All candidates can
    /// run; exact ones give the same bits.
    pub fn choose<C: Configuration>(&mut self, key: TuningKey, candidates: &[C]) -> C {
        let key = key.to_string();
        let tuned = self.capabilities.tuning.as_ref().and_then(|tuning| tuning.choices.get(&key));
        let position = |name: &String| candidates.iter().position(|candidate| candidate.name() == *name);
        let chosen = tuned.and_then(position).unwrap_or(0);
        let names = candidates.iter().map(|candidate| (candidate.name(), candidate.exact())).collect();
        self.choices.push(Choice { key, candidates: names, chosen });
        candidates[chosen]
    }

    /// What the node was lowered to.
    pub fn finish(self) -> Lowered {
        Lowered { dispatches: self.dispatches, scratch: self.scratch, choices: self.choices }
    }
}

/// Describes one dispatch; added to the node when its workgroups are given.
#[must_use = "a dispatch is added by .over(..) or .workgroups(..)"]
pub struct DispatchBuilder<'l, 'a> {
    lower: &'l mut Lower<'a>,
    dispatch: Dispatch<Slot>,
}

impl DispatchBuilder<'_, '_> {
    /// Binds a buffer that the shader reads.
    pub fn read(mut self, name: &'static str, buffer: Slot) -> Self {
        self.dispatch.bindings.push(Binding { name, buffer, access: Access::Read });
        self
    }

    /// Binds a buffer that the shader writes.
    pub fn write(mut self, name: &'static str, buffer: Slot) -> Self {
        self.dispatch.bindings.push(Binding { name, buffer, access: Access::ReadWrite });
        self
    }

    /// Sets a member of the uniform block `params`.
    pub fn uniform(mut self, name: &'static str, value: impl Into<Scalar>) -> Self {
        self.dispatch.uniforms.push((name, value.into()));
        self
    }

    /// Sets several members of the uniform block.
    pub fn uniforms(mut self, values: &[(&'static str, usize)]) -> Self {
        self.dispatch.uniforms.extend(values.iter().map(|&(name, value)| (name, Scalar::from(value))));
        self
    }

    /// Appends a `const` line to the shader.
    pub fn constant(mut self, name: &'static str, value: impl Into<Scalar>) -> Self {
        self.dispatch.variant.constants.push((name, value.into()));
        self
    }

    /// Appends a snippet of `shaders/shared/` by its stem, besides those that the shader always has.
    pub fn snippet(mut self, stem: &'static str) -> Self {
        self.dispatch.variant.snippets.push(stem);
        self
    }

    /// The element type behind the bindings of type `array<Packed>`, which the shader reads by `unpack`.
    pub fn loads(self, dtype: DType) -> Self {
        self.snippet(if dtype == DType::F16 { "load_f16" } else { "load_f32" })
    }

    /// The element type of the binding `output`, for shaders that write by `store4`: four elements at a time, and of an
    /// f32 tensor also one at a time by `store`, if `single` says so.
    pub fn stores(self, dtype: DType, single: bool) -> Self {
        self.snippet(match (dtype, single) {
            (DType::F16, _) => "store_f16",
            (_, true) => "store_f32",
            (_, false) => "store_f32x4",
        })
    }

    /// For shaders that do `PACK` neighbouring elements of a row at a time: four if `four` says that rows begin at
    /// multiples of four, else one, of f32.
    pub fn lanes(self, loads: DType, stores: DType, four: bool) -> Self {
        if four {
            return self.loads(loads).stores(stores, false);
        }
        self.snippet("load_f32x1").stores(DType::F32, true)
    }

    /// One invocation per element, in workgroups of 64; the shader finds its element by `flat_index`.
    pub fn over(self, elements: usize) {
        let groups = elements.div_ceil(WORKGROUP_SIZE as usize);
        self.groups(groups);
    }

    /// `groups` workgroups, spread over x and y; the shader finds its own by `flat_group`.
    pub fn groups(self, groups: usize) {
        let width = groups.clamp(1, self.lower.capabilities.max_workgroups as usize);
        self.workgroups([width as u32, groups.div_ceil(width) as u32, 1]);
    }

    /// Workgroups in x, y, z.
    pub fn workgroups(mut self, workgroups: [u32; 3]) {
        self.dispatch.workgroups = workgroups;
        self.lower.dispatches.push(self.dispatch);
    }
}
