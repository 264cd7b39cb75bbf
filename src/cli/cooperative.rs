//! Whether an adapter's cooperative products are right: tried out in a process of its own, since a driver may crash or
//! hang over them, and remembered.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
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

/// A line that the process of a proof prints for each way that it has tried.
#[derive(Debug, Serialize, Deserialize)]
struct Tried {
    way: Cooperative,
    failure: Option<String>,
}

/// How to multiply cooperatively on an adapter that the user wants it on: what its verdict says, which is found now if
/// there is none. Says on standard error what came of it.
pub(super) fn wanted(adapter: &Adapter, cache: Option<&CacheFolder>) -> Option<Cooperative> {
    let name = &adapter.name;
    let Some(offered) = adapter.cooperative() else {
        eprintln!(
            "note: cooperative matrices are not used: {name} offers none of f16 to this driver and wgrad"
        );
        return None;
    };
    let known = known(adapter, cache);
    let verdict = known.unwrap_or_else(|| {
        eprintln!(
            "note: cooperative matrices of {name} are tried out in a process of their own; this is done once"
        );
        let verdict = prove(adapter, offered);
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

/// Starts this program again to try out the adapter; a crash and a timeout are failures like a wrong result.
fn prove(adapter: &Adapter, offered: Cooperative) -> Verdict {
    let ended = run_child(adapter.index);
    let (lines, end) = ended.unwrap_or_else(|error| (vec![], Err(error)));
    let tried: Vec<Tried> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let right = tried.iter().filter(|tried| tried.failure.is_none() && tried.way.size == offered.size);
    let proved = right.map(|tried| tried.way).next_back();
    let reason = tried.into_iter().find_map(|tried| tried.failure).or(end.err());
    Verdict { version: version(adapter), proved, reason }
}

/// The lines that the process printed, and how it ended.
type Ended = (Vec<String>, Result<(), String>);

fn run_child(index: usize) -> Result<Ended, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program is not found: {error}"))?;
    let mut command = Command::new(program);
    command.args(["prove-cooperative", "--device", &index.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("its process does not start: {error}"))?;
    let output = child.stdout.take();
    let reader = thread::spawn(move || {
        let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
        lines.map_while(std::io::Result::ok).collect::<Vec<_>>()
    });
    let end = wait(&mut child);
    Ok((reader.join().unwrap_or_default(), end))
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

/// `wgrad prove-cooperative`: what the process of a proof runs. It prints a line of JSON for each way out of a product.
pub(super) fn run(args: &ProveArgs) -> Result<()> {
    let found = pollster::block_on(adapters());
    let Some(adapter) = found.get(args.device) else {
        return Err(Error::NoDevice(format!("there is no adapter {}", args.device)));
    };
    let offered = if args.emulate { Some(Cooperative::EMULATED) } else { adapter.cooperative() };
    let Some(offered) = offered else {
        return Err(Error::NoDevice(format!("{} offers no cooperative matrices of f16", adapter.name)));
    };
    // The slower way comes first, so that it is proved already if the faster one crashes.
    for staged in [false, true] {
        let way = Cooperative { staged, ..offered };
        let opening = Opening { checks: Checks::Off, cooperative: Some(way), ..Opening::default() };
        let gpu = pollster::block_on(Gpu::open_with(adapter, opening)).map(Arc::new);
        let failure = gpu
            .map_err(|error| error.to_string())
            .and_then(|gpu| pollster::block_on(prove_products(&gpu)))
            .err();
        let line = serde_json::to_string(&Tried { way, failure });
        say(line.map_err(|error| Error::NoDevice(error.to_string()))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_says_nothing_proves_nothing() {
        // The test's own binary takes other arguments: it ends with an error and prints no verdict.
        let (lines, end) = run_child(0).unwrap();
        assert!(lines.iter().all(|line| serde_json::from_str::<Tried>(line).is_err()), "{lines:?}");
        assert!(end.is_err(), "{end:?}");
    }

    #[test]
    fn verdicts_say_what_they_found() {
        let way = Cooperative { size: 16, subgroup: 32, staged: true };
        let proved = Verdict { version: String::new(), proved: Some(way), reason: None };
        assert_eq!(proved.summary(), "proved: 16 x 16, staged");
        let failed = Verdict { version: String::new(), proved: None, reason: Some("it crashed".to_string()) };
        assert_eq!(
            failed.line("GPU"),
            "cooperative matrices are not used: on GPU they are not proved (it crashed)"
        );
        let text = serde_json::to_string(&failed).unwrap();
        assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), failed);
    }
}
