use wgpu::naga::front::wgsl;
use wgpu::naga::valid::{
    Capabilities, GlobalUse, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator,
};
use wgpu::naga::{AddressSpace, GlobalVariable, Handle, Module, ScalarKind, StorageAccess, TypeInner};

use crate::graph::{Access, Dispatch, Scalar, Tier};

/// A parsed and validated shader, with what its entry points bind.
#[derive(Debug)]
pub struct Reflection {
    /// The module.
    pub module: Module,
    /// What naga's validator found out about it.
    pub info: ModuleInfo,
}

/// What an entry point binds.
#[derive(Clone, Debug)]
pub struct EntryPoint {
    /// Buffers in the order of their binding numbers.
    pub bindings: Vec<ReflectedBinding>,
    /// Members of the uniform block `params`, if the entry point reads it.
    pub params: Vec<UniformMember>,
    /// Invocations per workgroup.
    pub workgroup_size: [u32; 3],
}

/// One bound variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReflectedBinding {
    /// Its name.
    pub name: String,
    /// Its number in group 0.
    pub number: u32,
    /// How the shader may access it; `None` for uniforms.
    pub storage: Option<Access>,
    /// Bytes of its type; of one element for arrays.
    pub size: u32,
}

/// One member of a uniform block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniformMember {
    /// Its name.
    pub name: String,
    /// Byte offset in the block.
    pub offset: u32,
    /// Its type.
    pub kind: ScalarKind,
}

impl Reflection {
    /// Parses and validates a complete shader that all of WebGPU can run; the message points at the line.
    pub fn new(text: &str) -> Result<Reflection, String> {
        Reflection::for_tier(text, Tier::Portable)
    }

    /// The same for a shader that needs a tier.
    pub fn for_tier(text: &str, tier: Tier) -> Result<Reflection, String> {
        let module = wgsl::parse_str(text).map_err(|error| error.emit_to_string(text))?;
        // unpack2x16float, which all of WebGPU has.
        let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        let beyond = [
            (Tier::Subgroups, Capabilities::SUBGROUP),
            (Tier::HalfPrecision, Capabilities::SHADER_FLOAT16),
            (Tier::CooperativeMatrix, Capabilities::COOPERATIVE_MATRIX),
        ];
        for (_, more) in beyond.into_iter().filter(|(step, _)| *step <= tier) {
            capabilities |= more;
        }
        let mut validator = Validator::new(ValidationFlags::all(), capabilities);
        if tier >= Tier::Subgroups {
            validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
        }
        let info = validator.validate(&module).map_err(|error| error.emit_to_string(text))?;
        Ok(Reflection { module, info })
    }

    /// What an entry point binds.
    pub fn entry_point(&self, name: &str) -> Option<EntryPoint> {
        let index = self.module.entry_points.iter().position(|entry| entry.name == name)?;
        let function = self.info.get_entry_point(index);
        let mut bindings = vec![];
        let mut params = vec![];
        for (handle, variable) in self.module.global_variables.iter() {
            let used: GlobalUse = function[handle];
            if variable.binding.is_none() || used.is_empty() {
                continue;
            }
            if variable.name.as_deref() == Some("params") {
                params = self.members(variable);
            }
            bindings.push(self.binding(handle, variable));
        }
        bindings.sort_by_key(|binding| binding.number);
        Some(EntryPoint { bindings, params, workgroup_size: self.module.entry_points[index].workgroup_size })
    }

    fn binding(&self, _: Handle<GlobalVariable>, variable: &GlobalVariable) -> ReflectedBinding {
        let storage = match variable.space {
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => {
                Some(Access::ReadWrite)
            }
            AddressSpace::Storage { .. } => Some(Access::Read),
            _ => None,
        };
        ReflectedBinding {
            name: variable.name.clone().unwrap_or_default(),
            number: variable.binding.as_ref().map_or(0, |binding| binding.binding),
            storage,
            size: self.module.types[variable.ty].inner.size(self.module.to_ctx()),
        }
    }

    fn members(&self, variable: &GlobalVariable) -> Vec<UniformMember> {
        let TypeInner::Struct { members, .. } = &self.module.types[variable.ty].inner else { return vec![] };
        members
            .iter()
            .map(|member| UniformMember {
                name: member.name.clone().unwrap_or_default(),
                offset: member.offset,
                kind: self.module.types[member.ty].inner.scalar_kind().unwrap_or(ScalarKind::Uint),
            })
            .collect()
    }
}

impl EntryPoint {
    /// Bytes of the `params` block.
    pub fn params_size(&self) -> u32 {
        self.bindings.iter().find(|binding| binding.name == "params").map_or(0, |binding| binding.size)
    }

    /// Lays out a dispatch's uniforms by the names of the members; a member that is not given is 0.
    pub fn params_bytes<B>(&self, dispatch: &Dispatch<B>) -> Vec<u8> {
        let mut bytes = vec![0; self.params_size() as usize];
        for member in &self.params {
            let Some((_, value)) = dispatch.uniforms.iter().find(|(name, _)| *name == member.name) else {
                continue;
            };
            let word = match *value {
                Scalar::U32(value) => value,
                Scalar::I32(value) => value as u32,
                Scalar::F32(value) => value.to_bits(),
                Scalar::Bool(value) => u32::from(value),
            };
            bytes[member.offset as usize..][..4].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// What does not agree between a dispatch and the entry point; empty if all does.
    pub fn disagreements<B>(&self, dispatch: &Dispatch<B>) -> Vec<String> {
        let mut found = vec![];
        for binding in self.bindings.iter().filter(|binding| binding.storage.is_some()) {
            match dispatch.bindings.iter().find(|given| given.name == binding.name) {
                None => found.push(format!("{} is not bound", binding.name)),
                Some(given) if Some(given.access) != binding.storage => {
                    found.push(format!(
                        "{} is bound as {:?}, declared as {:?}",
                        binding.name, given.access, binding.storage
                    ));
                }
                Some(_) => {}
            }
        }
        let names: Vec<&str> = self.bindings.iter().map(|binding| binding.name.as_str()).collect();
        let unknown = dispatch.bindings.iter().filter(|given| !names.contains(&given.name));
        found.extend(unknown.map(|given| format!("{} is bound but not used by the shader", given.name)));
        for (name, value) in &dispatch.uniforms {
            match self.params.iter().find(|member| member.name == *name) {
                None if self.params.is_empty() => {}
                None => found.push(format!("params has no member {name}")),
                Some(member) if !kind_fits(*value, member.kind) => {
                    found.push(format!("params.{name} is {:?}, given is {value:?}", member.kind));
                }
                Some(_) => {}
            }
        }
        found
    }
}

fn kind_fits(value: Scalar, kind: ScalarKind) -> bool {
    match value {
        Scalar::U32(_) | Scalar::Bool(_) => kind == ScalarKind::Uint,
        Scalar::I32(_) => kind == ScalarKind::Sint,
        Scalar::F32(_) => kind == ScalarKind::Float,
    }
}
