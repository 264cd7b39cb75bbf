//! The `wgrad` command.
#![deny(unsafe_code)]

fn main() -> std::process::ExitCode {
    let started = std::time::Instant::now();
    #[cfg(target_os = "linux")]
    quieten_mesa();
    wgrad::cli::main(|command| wgrad::cli::run(command, started))
}

/// Where there is no desktop session, Mesa's device-select layer prints errors each time that adapters are listed;
/// `NODEVICE_SELECT` keeps the layer out. A process cannot safely change its own environment, so this one starts itself
/// again in its place; if that fails, it goes on as it is.
#[cfg(target_os = "linux")]
fn quieten_mesa() {
    use std::env;
    use std::os::unix::process::CommandExt;
    if env::var_os("XDG_RUNTIME_DIR").is_some() || env::var_os("NODEVICE_SELECT").is_some() {
        return;
    }
    if let Ok(program) = env::current_exe() {
        let _ = std::process::Command::new(program)
            .args(env::args_os().skip(1))
            .env("NODEVICE_SELECT", "1")
            .exec();
    }
}
