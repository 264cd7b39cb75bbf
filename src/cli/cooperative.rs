//! Whether an adapter's cooperative products are right: tried out in a process of its own, since a driver may crash or
//! hang over them, and remembered.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ProveArgs;
use super::report::say;
use crate::error::{Error, Result};
use crate::gpu::{Adapter, Checks, Gpu, Opening, adapters};
use crate::graph::Cooperative;
use crate::plan::shader_hash;
use crate::selftest::prove_products;
use crate::train::CacheFolder;

/// How long a proof may take: mostly compiling kernels.
const TIMEOUT: Duration = Duration::from_secs(180);

/// The file of the cache that holds all verdicts.
const FILE: &str = "cooperative.json";

/// What the process of a proof prints if all is right.
const PROVED: &str = "proved";

/// What a proof found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    /// The version of wgrad, its shaders and the driver that it holds for.
    version: String,
    /// What was proved, the fastest way.
    pub(super) proved: Option<Cooperative>,
    /// Why nothing was, or why not a faster way.
    reason: Option<String>,
}

/// How to multiply cooperatively on an adapter that the user wants it on: what its verdict says, which is found now if
/// there is none. Says on standard error what came of it.
pub(super) fn wanted(adapter: &Adapter, cache: Option<&CacheFolder>) -> Option<Cooperative> {
    let name = &adapter.name;
    let ways = adapter.cooperative_ways();
    if ways.is_empty() {
        eprintln!("note: cooperative matrices are not used: {name} offers none of f16");
        return None;
    }
    let verdict = known(adapter, cache).unwrap_or_else(|| {
        eprintln!("note: cooperative matrices of {name} are tried out in processes of their own, once");
        let verdict = prove(adapter, ways);
        keep(adapter, &verdict, cache);
        verdict
    });
    eprintln!("note: {}", verdict.line(name));
    verdict.proved
}

/// The verdict on an adapter, if there is one for this version and driver.
pub(super) fn known(adapter: &Adapter, cache: Option<&CacheFolder>) -> Option<Verdict> {
    let verdict = all(cache).remove(&adapter.name)?;
    (verdict.version == version(adapter)).then_some(verdict)
}

impl Verdict {
    /// In words.
    fn line(&self, device: &str) -> String {
        let reason = self.reason.as_deref().unwrap_or("no reason is known");
        match self.proved {
            None => format!("cooperative matrices are not used: on {device} they are not proved ({reason})"),
            Some(way) => {
                format!("cooperative matrices of {device} are proved and used for f16: {}", way.name())
            }
        }
    }

    /// In a few words.
    pub(super) fn summary(&self) -> String {
        self.proved.map_or("not proved".to_string(), |way| format!("proved: {}", way.name()))
    }
}

fn version(adapter: &Adapter) -> String {
    let (version, driver) = (env!("CARGO_PKG_VERSION"), &adapter.driver);
    format!("wgrad {version}, shaders {:016x}, {driver}", shader_hash())
}

fn all(cache: Option<&CacheFolder>) -> BTreeMap<String, Verdict> {
    let content = cache.and_then(|cache| cache.read(FILE)).unwrap_or_default();
    serde_json::from_slice(&content).unwrap_or_default()
}

fn keep(adapter: &Adapter, verdict: &Verdict, cache: Option<&CacheFolder>) {
    let Some(cache) = cache else { return };
    let mut verdicts = all(Some(cache));
    verdicts.insert(adapter.name.clone(), verdict.clone());
    let written = serde_json::to_vec_pretty(&verdicts).map_err(|error| error.to_string());
    let kept = written.and_then(|content| cache.write(FILE, &content).map_err(|error| error.to_string()));
    if let Err(error) = kept {
        eprintln!("note: the verdict on cooperative matrices is not kept: {error}");
    }
}

/// Tries the ways, the fastest first, until one is right.
fn prove(adapter: &Adapter, ways: Vec<Cooperative>) -> Verdict {
    let (mut proved, mut reason) = (None, None);
    for way in ways {
        match try_out(adapter.index, way) {
            Ok(()) => {
                proved = Some(way);
                break;
            }
            Err(failure) => reason = Some(format!("{}: {failure}", way.name())),
        }
    }
    Verdict { version: version(adapter), proved, reason }
}

/// Starts this program again to try out a way; a crash and a timeout are failures like a wrong result.
fn try_out(index: usize, way: Cooperative) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| format!("this program is not found: {error}"))?;
    let mut command = Command::new(program);
    command.arg("prove-cooperative");
    for (flag, value) in [("--device", index as u32), ("--size", way.size), ("--subgroup", way.subgroup)] {
        command.args([flag, &value.to_string()]);
    }
    command.args(way.staged.then_some("--staged"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("its process does not start: {error}"))?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let lines = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut text = String::new();
            // What is not text says nothing; the verdict is then that of the exit code.
            let _ = pipe.map(|mut pipe| pipe.read_to_string(&mut text));
            text
        })
    };
    let output = lines(output.map(|pipe| Box::new(pipe) as Box<_>));
    let errors = lines(errors.map(|pipe| Box::new(pipe) as Box<_>));
    let end = wait(&mut child);
    let (output, errors) = (output.join().unwrap_or_default(), errors.join().unwrap_or_default());
    let said = errors.lines().rev().find_map(|line| line.strip_prefix("error: ").map(str::to_string));
    end.map_err(|end| said.unwrap_or(end))?;
    if output.trim() == PROVED { Ok(()) } else { Err("its process gave no verdict".to_string()) }
}

fn wait(child: &mut Child) -> Result<(), String> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("its process ended with {status}")),
            Ok(None) if start.elapsed() < TIMEOUT => thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                // It may have ended just now; then there is nothing to kill.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("its process did not end in {} s", TIMEOUT.as_secs()));
            }
            Err(error) => return Err(format!("its process is lost: {error}")),
        }
    }
}

/// `wgrad prove-cooperative`: what the process of a proof runs.
pub(super) fn run(args: &ProveArgs) -> Result<()> {
    let way = Cooperative { size: args.size, subgroup: args.subgroup, staged: args.staged };
    let found = pollster::block_on(adapters());
    let Some(adapter) = found.get(args.device) else {
        return Err(Error::NoDevice(format!("there is no adapter {}", args.device)));
    };
    if !(way.is_emulated() || adapter.cooperative_ways().contains(&way)) {
        return Err(Error::NoDevice(format!("{} does not offer {}", adapter.name, way.name())));
    }
    let opening = Opening { checks: Checks::Off, cooperative: Some(way), ..Opening::default() };
    let gpu = Arc::new(pollster::block_on(Gpu::open_with(adapter, opening))?);
    let device = adapter.name.clone();
    pollster::block_on(prove_products(&gpu)).map_err(|message| Error::Device { device, message })?;
    say(PROVED);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_says_nothing_proves_nothing() {
        // The test's own binary takes other arguments: it ends with an error and prints no verdict.
        assert!(try_out(0, Cooperative::EMULATED).is_err());
    }

    #[test]
    fn verdicts_say_what_they_found() {
        let way = Cooperative { size: 16, subgroup: 32, staged: true };
        let proved = Verdict { version: String::new(), proved: Some(way), reason: None };
        assert_eq!(proved.summary(), "proved: 16 x 16, subgroups of 32, staged");
        let failed = Verdict { version: String::new(), proved: None, reason: Some("it crashed".to_string()) };
        assert_eq!(
            failed.line("GPU"),
            "cooperative matrices are not used: on GPU they are not proved (it crashed)"
        );
        let text = serde_json::to_string(&failed).unwrap();
        assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), failed);
    }
}
