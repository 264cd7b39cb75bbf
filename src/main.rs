//! The `wgrad` command.
#![deny(unsafe_code)]

fn main() {}
