//! The `wgrad` command.
#![deny(unsafe_code)]

fn main() -> std::process::ExitCode {
    wgrad::cli::main(wgrad::cli::run)
}
