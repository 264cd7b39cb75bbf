//! The tier of cooperative matrices without such a GPU: the shaders of every variant are valid and become SPIR-V, and
//! their addresses and ways out are run on every adapter with tiles that single invocations emulate.

mod emulated;
mod shaders;
